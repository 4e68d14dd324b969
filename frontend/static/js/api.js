// Calls of the REST API with the page's own session, and its errors (application/problem+json) as one kind of exception.

export class Problem extends Error {
  /** @param {{status: number, title?: string, detail?: string, code?: string, errors?: {field?: string, line?: number, code?: string, message: string}[]}} body */
  constructor(body) {
    super(body.detail || body.title || "The server did not answer as expected.");
    this.status = body.status;
    this.code = body.code || "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.current = body.current ?? null; // what a thing is now that somebody else changed meanwhile
  }

  /** The sentence for a person: the detail, and what the single fields say when they are not shown beside their fields. */
  get sentence() {
    const parts = this.errors.map((error) => error.message).filter((message) => message && !this.message.includes(message));
    return [this.message, ...parts.slice(0, 3)].join(" ");
  }
}

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export async function call(path, { method = "GET", json, signal, headers = {} } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      credentials: "same-origin",
      headers: {
        Accept: "application/json",
        ...(json === undefined ? {} : { "Content-Type": "application/json" }),
        ...(method === "GET" ? {} : { "X-CSRFToken": csrfToken() }),
        ...headers,
      },
      body: json === undefined ? undefined : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, code: "offline", detail: "The server could not be reached. Check the connection and try again." });
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  throw await problemOf(response);
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not JSON: a proxy's page, or a server that is restarting.
  }
  return toProblem(response.status, body);
}

export function toProblem(status, body) {
  const plain = {
    401: "You are not signed in any more. Sign in and try again.",
    403: "You may not do this, or the page is too old. Reload it and try again.",
    404: "It is not there any more.",
    413: "That is too large for this server.",
    429: "Too many requests. Wait a moment and try again.",
  };
  const known = body && typeof body === "object" ? body : {};
  // What the API says to programs about signing in is of no use to the reader of a page.
  const detail = typeof known.detail === "string" && status !== 401 ? known.detail : plain[status] ?? `The server answered with an error (${status}). Try again in a moment.`;
  return new Problem({ ...known, status, detail });
}

/** The rows of an answer that is a list, or a page of one. */
export const rows = (answer) => (Array.isArray(answer) ? answer : answer?.results ?? []);

/** A part of a page as the server renders it. */
export async function fragment(url, signal) {
  const response = await fetch(url, { headers: { "X-Fragment": "1" }, credentials: "same-origin", signal });
  if (response.redirected && new URL(response.url).pathname.startsWith("/sign-in/")) {
    throw new Problem({ status: 401, detail: "You are not signed in any more. Sign in and try again." });
  }
  if (!response.ok) throw await problemOf(response);
  return response.text();
}
