// The life of the page: who may, which view, and a look at the daemon each second while somebody
// looks at the page.

import { find } from "/dashboard/dom.js";
import { Explorer } from "/dashboard/explorer.js";
import { Look, Step } from "/dashboard/figures.js";
import { Now } from "/dashboard/now.js";
import { Refused, askJson, askText, forgetToken, hasToken, keepToken, readiness }
  from "/dashboard/wire.js";

const POLL_MS = 1000;
const STATES = {
  ready: ["serves", "good"],
  loading: ["replays its logs", "warn"],
  read_only: ["takes no writes", "bad"],
  stopping: ["stops", "warn"],
  stuck: ["stuck", "bad"],
};

const now = new Now();
const explorer = new Explorer(tell);
let before = null;
let awaySince = null;
let poll = null;
let isLooking = false;

/** Shows what is wrong, or that nothing is. */
function tell(trouble) {
  const shown = find("trouble");
  shown.hidden = trouble === null;
  if (trouble !== null && shown.textContent !== trouble) shown.textContent = trouble;
}

function showState([text, level]) {
  const shown = find("state");
  shown.className = `state ${level}`;
  if (shown.textContent !== text) shown.textContent = text;
}

function showToken(isAsked) {
  find("token-form").hidden = !isAsked;
  showView(isAsked);
}

function showView(isHidden = !find("token-form").hidden) {
  const view = location.hash === "#explore" ? "explore" : "now";
  for (const name of ["now", "explore"]) {
    find(name).hidden = isHidden || name !== view;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function look() {
  const { status, detail } = await readiness();
  showState(STATES[status] ?? [status, "warn"]);
  if (awaySince !== null) {
    explorer.forget();
    tell(null);
  }
  awaySince = null;
  const hasFigures = status === "ready" || status === "read_only";
  find("now").classList.toggle("stale", !hasFigures);
  if (!hasFigures) {
    before = null;
    return tell(detail ?? null);
  }
  if (!find("token-form").hidden) return;
  const [metrics, stats] = await Promise.all([askText("/metrics"), askJson("/v1/stats")]);
  const after = new Look(metrics, stats);
  find("version").textContent = after.of("build_info")[0]?.labels.version ?? "";
  now.take(new Step(before, after));
  if (!find("explore").hidden) explorer.open();
  before = after;
  tell(detail ?? explorer.trouble);
}

function failed(error) {
  before = null;
  if (error instanceof Refused && error.status === 401) {
    tell(hasToken() ? "That is not the token of this daemon." : null);
    forgetToken();
    showToken(true);
    find("token").focus();
    return;
  }
  if (error instanceof Refused) return tell(`The daemon refused: ${error.message}`);
  awaySince ??= new Date().toLocaleTimeString();
  showState(["away", "bad"]);
  find("now").classList.add("stale");
  tell(`The daemon has not answered since ${awaySince}. This page goes on asking each second.`);
}

/** One look at a time, the next a second after this one began. */
async function turn() {
  clearTimeout(poll);
  if (isLooking || document.hidden) return;
  const began_ms = performance.now();
  isLooking = true;
  try {
    await look();
  } catch (error) {
    failed(error);
  }
  isLooking = false;
  poll = setTimeout(turn, Math.max(0, POLL_MS - (performance.now() - began_ms)));
}

find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(find("token").value.trim());
  find("token").value = "";
  showToken(false);
  turn();
});
addEventListener("hashchange", () => {
  showView();
  turn();
});
document.addEventListener("visibilitychange", turn);
showView();
turn();
