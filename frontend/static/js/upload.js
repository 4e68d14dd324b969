// Sending a file with its progress. XMLHttpRequest, because fetch cannot tell how much has been sent.
import { toProblem } from "./api.js";

/** Speed and remaining seconds from (time, bytes) pairs of the last few seconds; steadier than the last two alone. */
export class Pace {
  constructor(windowMs = 5000) {
    this.windowMs = windowMs;
    this.marks = [];
  }

  add(now, bytes) {
    this.marks.push([now, bytes]);
    while (this.marks.length > 2 && now - this.marks[0][0] > this.windowMs) this.marks.shift();
  }

  get bytesPerSecond() {
    if (this.marks.length < 2) return null;
    const [[t0, b0], [t1, b1]] = [this.marks[0], this.marks[this.marks.length - 1]];
    return t1 > t0 ? ((b1 - b0) * 1000) / (t1 - t0) : null;
  }

  remaining(total) {
    const speed = this.bytesPerSecond;
    return speed ? (total - this.marks[this.marks.length - 1][1]) / speed : null;
  }
}

/** Post `form`; {done: Promise of the answer, cancel()}. `progress({sent, total, speed, left})` is called while it goes. */
export function send(path, form, csrf, progress) {
  const request = new XMLHttpRequest();
  const pace = new Pace();
  const done = new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      pace.add(performance.now(), event.loaded);
      progress({ sent: event.loaded, total: event.total, speed: pace.bytesPerSecond, left: pace.remaining(event.total) });
    });
    request.addEventListener("load", () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // A proxy's page; the status says enough.
      }
      if (request.status >= 200 && request.status < 300) resolve(body);
      else reject(toProblem(request.status, body));
    });
    request.addEventListener("error", () => reject(toProblem(0, { code: "offline", detail: "The connection broke while the file was being sent. Nothing was kept; try again." })));
    request.addEventListener("abort", () => reject(Object.assign(new Error("Cancelled"), { name: "AbortError" })));
  });
  request.open("POST", path);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", csrf);
  request.send(form);
  return { done, cancel: () => request.abort() };
}
