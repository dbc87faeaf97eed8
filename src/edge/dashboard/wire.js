// What the daemon is asked, and what it answers.

const TOKEN = "engram-token";
const PATIENCE_MS = 5000;

/** An answer that is a problem: its status, its code and its sentence. */
export class Refused extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);
export const forgetToken = () => sessionStorage.removeItem(TOKEN);
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

async function ask(path, body) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token !== null) headers.authorization = `Bearer ${token}`;
  const request = { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    request.method = "POST";
    request.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
  }
  const response = await fetch(path, request);
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.code, problem.detail ?? response.statusText);
}

export const askJson = async (path, body) => (await ask(path, body)).json();
export const askText = async (path) => (await ask(path)).text();

/** Whether the daemon serves, and why not. It tells that to anybody. */
export async function readiness() {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return (await fetch("/readyz", { cache: "no-store", signal })).json();
}

const SAMPLE = /^engram_(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="([^"]*)"/g;

/** The samples of /metrics by name: a list of `{labels, value}` each. */
export function readMetrics(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const found = SAMPLE.exec(line);
    if (found === null) continue;
    const [, name, inBraces = "", value] = found;
    const labels = Object.fromEntries([...inBraces.matchAll(LABEL)].map(([, k, v]) => [k, v]));
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(value) });
  }
  return samples;
}
