// The server's answers, and its own sentences when there is none.

let token = "";

export function setToken(text) {
  token = text;
}

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Label a photograph. fetch() says nothing of an upload's progress; XMLHttpRequest does. */
export function predict(photo, { accept = "application/json", query = {}, signal, onSent } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const gone = () => reject(new DOMException("a newer picture has taken its place", "AbortError"));
    if (signal?.aborted) {
      gone();
      return;
    }
    request.open("POST", `v1/predict?${new URLSearchParams(query)}`);
    request.responseType = "blob";
    request.setRequestHeader("Accept", accept);
    request.setRequestHeader("Content-Type", photo.type || "application/octet-stream");
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.onprogress = (event) => onSent?.(event.loaded, photo.size);
    request.upload.onload = () => onSent?.(photo.size, photo.size);
    request.onload = () =>
      request.status === 200
        ? resolve(request.response)
        : problem(request.status, request.response).then(reject);
    request.onerror = () => reject(new Problem(0, "The server cannot be reached. Is it still running?"));
    request.onabort = gone;
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(photo);
  });
}

export async function get(address) {
  let response;
  try {
    response = await fetch(address, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  } catch {
    throw new Problem(0, "The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await problem(response.status, await response.blob());
  return response;
}

async function problem(status, body) {
  try {
    const said = JSON.parse(await body.text());
    return new Problem(status, said.detail || said.title);
  } catch {
    return new Problem(status, `The server answered with status ${status}, and said no more.`);
  }
}
