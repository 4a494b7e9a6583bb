// How far an upload and the labelling are. The labelling's time is guessed from the picture's size.

export class Progress {
  constructor(root) {
    this.bar = root.querySelector("progress");
    this.text = root.querySelector("[role=status]");
  }

  start() {
    this.stop();
    this.#say("Labelling");
    this.bar.removeAttribute("value");
  }

  /** An upload that takes no time is not worth a word. */
  sent(bytes, total, seconds) {
    if (bytes >= total) this.#label(seconds);
    else {
      this.#say(`Sending: ${megabytes(bytes)} of ${megabytes(total)} MB`);
      this.bar.value = (0.5 * bytes) / total;
    }
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.#say("");
  }

  #label(seconds) {
    if (this.timer) return;
    const begun = performance.now();
    const from = this.bar.hasAttribute("value") ? this.bar.value : 0;
    this.#say(seconds > 2 ? `Labelling: about ${Math.round(seconds)} s` : "Labelling");
    // comes closer and closer to the end, and never claims to be there
    this.timer = setInterval(() => {
      const part = 1 - Math.exp((-2 * (performance.now() - begun)) / (1000 * Math.max(seconds, 0.2)));
      this.bar.value = from + (0.98 - from) * part;
    }, 50);
  }

  #say(text) {
    if (this.text.textContent !== text) this.text.textContent = text;
  }
}

export function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}
