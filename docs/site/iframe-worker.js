// Browsers start no worker from a file:// address. A hidden frame takes its place there, so that the
// search works without a server. (The theme's own remedy is a script from another site.)
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      document.body.appendChild(frame);
      this.frame = frame;
      frame.contentDocument.open();
      frame.contentDocument.write(
        `<script>postMessage = (data) => frameElement.answer(data)</script>` +
          `<script src="${address}"></script>`,
      );
      frame.contentDocument.close();
      this.loaded = new Promise((done) => (frame.contentWindow.onload = done));
    }

    postMessage(data) {
      this.loaded.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })),
      );
    }

    terminate() {
      this.frame.remove();
    }
  };
}
