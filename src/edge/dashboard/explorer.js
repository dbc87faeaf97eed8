// What comes to mind at an episode: a recall with spreading, as a graph, as a list, and why.
//
// The recall says what came and how much of its score is similarity and how much activation. By
// which path the activation came says a spread from the same episode, so both are asked for.

import { find, make } from "/dashboard/dom.js";
import { number } from "/dashboard/figures.js";
import { Graph } from "/dashboard/graph.js";
import { Refused, askJson } from "/dashboard/wire.js";

const SPREAD_K = 256;
const SCAN_COUNT = 64;
const TIERS = {
  graph: "Proposed by the graph of what is similar",
  codes: "Proposed by its code, then compared exactly",
  gather: "All that fulfil the conditions were compared",
  exact: "Everything was compared",
  spread: "Brought by associations alone",
};

const inSpace = (space, rest) => `/v1/spaces/${encodeURIComponent(space)}${rest}`;
const decimals = (value) => Number(value).toFixed(3);

export class Explorer {
  constructor(tell) {
    this.tell = tell;
    this.trouble = null;
    this.isOpen = false;
    this.asked = 0;
    this.hits = new Map();
    this.graph = new Graph((id) => this.choose(id));
    find("recall-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(() => this.recall(find("episode").value));
    });
    find("another").addEventListener("click", () => this.attempt(() => this.another()));
    find("space").addEventListener("change", () => this.attempt(() => this.enter()));
  }

  /** Looks which spaces there are, the first time and after the daemon was away. */
  open() {
    if (this.isOpen) return;
    this.attempt(async () => {
      const { spaces } = await askJson("/v1/spaces");
      this.isOpen = spaces.length > 0;
      const chosen = find("space").value;
      find("space").replaceChildren(...spaces.map((name) => new Option(name)));
      if (spaces.length === 0) return this.say("There is no memory space yet.");
      if (spaces.includes(chosen)) find("space").value = chosen;
      else await this.enter();
    });
  }

  forget() {
    this.isOpen = false;
  }

  async attempt(deed) {
    try {
      this.trouble = null;
      await deed();
    } catch (error) {
      if (!(error instanceof Refused)) this.isOpen = false;
      this.trouble = error instanceof Refused ? error.message : "The daemon does not answer.";
    }
    this.tell(this.trouble);
  }

  /** Whether nothing else was asked since, to be called when an answer is there: answers may come
   * in another order than they were asked for. */
  ask() {
    const own = ++this.asked;
    return () => own === this.asked;
  }

  say(text) {
    find("graph-says").textContent = text;
  }

  async enter() {
    this.cursor = "0";
    this.clear();
    find("episode").value = "";
    await this.another();
  }

  clear() {
    this.graph.clear();
    this.hits = new Map();
    find("hits").replaceChildren();
    find("detail").replaceChildren();
  }

  /** Takes episodes from a scan, and recalls by the best linked of them. */
  async another() {
    const space = find("space").value;
    if (space === "") return this.say("There is no memory space yet.");
    const query = `?count=${SCAN_COUNT}&with=links&cursor=${this.cursor ?? "0"}`;
    const isNewest = this.ask();
    const { cursor, episodes } = await askJson(inSpace(space, `/episodes${query}`));
    if (space !== find("space").value) return;
    this.cursor = cursor;
    if (episodes.length === 0) return this.say("There is no episode in this space.");
    find("episodes").replaceChildren(...episodes.map(({ id }) => new Option(id)));
    const links = ({ links }) => links?.length ?? 0;
    const best = episodes.reduce((best, other) => (links(other) > links(best) ? other : best));
    if (isNewest()) await this.recall(best.id);
  }

  async recall(id) {
    const space = find("space").value;
    find("episode").value = id;
    const asked = {
      k: find("k").valueAsNumber,
      cues: [{ id }],
      spread: { weight: find("weight").valueAsNumber },
      no_reinforce: true,
      with: ["why", "text", "links"],
    };
    const isNewest = this.ask();
    const [recalled, spread] = await Promise.all([
      askJson(inSpace(space, "/recall"), asked),
      askJson(inSpace(space, "/spread"), { k: SPREAD_K, from: [{ id }], with: ["why"] }),
    ]);
    if (!isNewest()) return;
    this.cue = id;
    this.hits = new Map(recalled.hits.map((hit) => [hit.id, hit]));
    this.paths = new Map(spread.hits.map((hit) => [hit.id, hit.why?.path ?? []]));
    for (const { id: of, why } of recalled.hits) {
      if (why?.path?.length > 0) this.paths.set(of, why.path);
    }
    this.graph.show(id, recalled.hits, this.paths);
    this.list(recalled.hits);
    this.say(`${number(recalled.hits.length)} results at ${id}; ${number(spread.edges)} links ` +
      `visited, ${number(spread.nodes)} episodes reached.`);
    await this.choose(id);
  }

  list(hits) {
    const items = hits.map((hit) => {
      const name = make("span", { class: "id" }, hit.id);
      const aside = make("span", { class: "aside" }, hit.text ?? "");
      const attributes = { type: "button", "data-id": hit.id, "aria-pressed": "false",
        on: { click: () => this.choose(hit.id) } };
      return make("li", {}, make("button", attributes, name, decimals(hit.score), aside));
    });
    find("hits").replaceChildren(...items);
  }

  async choose(id) {
    this.graph.mark(id);
    for (const button of find("hits").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.id === id));
    }
    await this.attempt(async () => {
      const hit = this.hits.get(id);
      const isNewest = this.ask();
      const episode = hit ?? (await this.unrecalled(id));
      if (isNewest()) this.detail(id, episode, hit !== undefined);
    });
  }

  /** What an episode says that the recall did not bring; a link may lead to none. */
  async unrecalled(id) {
    const path = `/episodes/${encodeURIComponent(id)}?with=text,links`;
    try {
      return await askJson(inSpace(find("space").value, path));
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return null;
      throw error;
    }
  }

  detail(id, episode, isHit) {
    const shown = [make("p", { class: "id" }, id)];
    if (episode === null) shown.push(make("p", { class: "note" }, "No episode has this id."));
    else shown.push(make("p", {}, episode.text ?? "It has no text."));
    if (isHit) shown.push(...figuresOf(episode));
    shown.push(make("h3", {}, "Why it came"), ...this.why(id, episode, isHit));
    const links = episode?.links ?? [];
    if (links.length > 0) {
      const chips = links.map((link) => this.chip(link.id, link.kind));
      shown.push(make("h3", {}, `Its ${number(links.length)} links`));
      shown.push(make("div", { class: "chain" }, ...chips));
    }
    if (id !== this.cue && episode !== null) {
      const on = { click: () => this.attempt(() => this.recall(id)) };
      shown.push(make("p", {}, make("button", { type: "button", on }, "Recall from here")));
    }
    find("detail").replaceChildren(...shown);
    find("details").scrollTop = 0;
  }

  why(id, episode, isHit) {
    if (id === this.cue) return [make("p", {}, "It was asked with.")];
    const path = this.paths.get(id) ?? [];
    const reasons = [];
    if (isHit) {
      const { tier } = episode.why ?? {};
      reasons.push(make("p", {}, `${TIERS[tier] ?? tier}.`));
    } else {
      reasons.push(make("p", {}, "It did not: something that came is linked to it."));
    }
    if (path.length > 0) {
      const steps = path.flatMap(({ to, kind }) => [
        make("em", {}, `— ${kind ?? "linked"} →`),
        this.chip(to),
      ]);
      reasons.push(make("p", {}, "Most of its activation came by"));
      reasons.push(make("div", { class: "chain" }, this.chip(path[0].from), ...steps));
    } else if (isHit && episode.activation > 0) {
      reasons.push(make("p", {}, "Its activation came from others that are similar to the cue."));
    }
    return reasons;
  }

  chip(id, kind) {
    const attributes = { type: "button", class: "chip id", on: { click: () => this.choose(id) } };
    return make("button", attributes, kind === undefined ? id : `${id} · ${kind}`);
  }
}

function figuresOf({ score, similarity, activation, confidence }) {
  const rows = [["Score", score], ["Similarity", similarity], ["Activation", activation ?? 0]];
  const items = rows.flatMap(([name, value]) => [
    make("dt", {}, name),
    make("dd", {}, decimals(value)),
  ]);
  const [low, point, high] = confidence.map((value) => Number(value).toFixed(2));
  const sure = low === high ? point : `${point} (${low}–${high})`;
  items.push(make("dt", {}, "Confidence"), make("dd", {}, sure));
  return [make("dl", { class: "pairs" }, ...items)];
}
