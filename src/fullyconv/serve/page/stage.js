// A photograph, its labels over it, a line between the two, and the pixel that is pointed at.

import { paint } from "./pixels.js";

export class Stage {
  /** onPoint is told of the pixel (x, y) pointed at and whether by keyboard; of nothing when it is left. */
  constructor(root, { label, onPoint, onCompare }) {
    this.root = root;
    this.onPoint = onPoint;
    this.size = { width: 1, height: 1 };
    root.classList.add("stage");
    root.innerHTML = `
      <div class="frame" tabindex="0" role="application" aria-roledescription="picture">
        <img alt="" draggable="false"><canvas></canvas>
        <div class="cross" hidden></div><div class="line"></div><div class="knob"></div>
      </div>`;
    this.frame = root.firstElementChild;
    this.photo = root.querySelector("img");
    this.canvas = root.querySelector("canvas");
    this.cross = root.querySelector(".cross");
    this.frame.setAttribute("aria-label", label);
    this.cursor = null;
    this.#followPointer(onCompare);
    this.#followKeys();
    // drawn anew when the window gets larger, at most once for each frame of the screen
    new ResizeObserver(() => requestAnimationFrame(() => this.draw())).observe(root);
  }

  setSize(width, height) {
    this.size = { width, height };
    // of the whole page: what is below the picture is as wide
    document.documentElement.style.setProperty("--ratio", width / height);
    this.cursor = this.pointed = null;
    this.cross.hidden = true;
  }

  /** The array to draw over the photograph, and its colours; null for nothing. */
  setLayer(values, colors) {
    this.layer = values && { values, colors };
    this.drawn = null;
    this.draw();
  }

  draw() {
    this.canvas.hidden = !this.layer;
    if (!this.layer || !this.root.clientWidth) return;
    const seen = `${this.root.clientWidth} ${devicePixelRatio}`;
    if (this.drawn === seen) return;
    this.drawn = seen;
    paint(this.canvas, this.layer.values, this.size, this.layer.colors);
  }

  setOpacity(share) {
    this.root.style.setProperty("--opacity", share);
  }

  setCompare(percent) {
    this.root.style.setProperty("--compare", `${percent}%`);
  }

  #pixel(event) {
    const box = this.frame.getBoundingClientRect();
    const { width, height } = this.size;
    const within = (share, most) => Math.max(0, Math.min(most - 1, Math.floor(share * most)));
    return [
      within((event.clientX - box.left) / box.width, width),
      within((event.clientY - box.top) / box.height, height),
    ];
  }

  #followPointer(onCompare) {
    const frame = this.frame;
    frame.addEventListener("pointermove", (event) => {
      if (this.dragging) {
        const box = frame.getBoundingClientRect();
        onCompare?.(Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width)));
        return;
      }
      this.#point(...this.#pixel(event), false);
    });
    frame.addEventListener("pointerdown", (event) => {
      this.dragging = event.target.matches(".line, .knob");
      if (this.dragging) frame.setPointerCapture(event.pointerId);
      else this.#point(...this.#pixel(event), false);
    });
    for (const end of ["pointerup", "pointercancel"])
      frame.addEventListener(end, () => {
        this.dragging = false;
      });
    // a finger leaves the picture whenever it is lifted; what it pointed at stays
    frame.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !this.dragging) this.#tell(null);
    });
  }

  #followKeys() {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.frame.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const { width, height } = this.size;
      const far = event.shiftKey ? 1 : Math.max(1, Math.round(width / 50));
      const [x, y] = this.cursor ?? [Math.floor(width / 2), Math.floor(height / 2)];
      const within = (value, most) => Math.max(0, Math.min(most - 1, value));
      this.#point(within(x + move[0] * far, width), within(y + move[1] * far, height), true);
    });
    this.frame.addEventListener("blur", () => {
      this.cross.hidden = true;
    });
  }

  #point(x, y, byKey) {
    this.cursor = [x, y];
    this.mark(byKey ? { x, y } : null);
    this.#tell({ x, y, at: y * this.size.width + x, byKey });
  }

  /** Show a cross at a pixel, or none. */
  mark(where) {
    this.cross.hidden = !where;
    if (!where) return;
    this.cross.style.left = `${(100 * (where.x + 0.5)) / this.size.width}%`;
    this.cross.style.top = `${(100 * (where.y + 0.5)) / this.size.height}%`;
  }

  #tell(where) {
    this.pointed = where;
    this.onPoint(where);
  }

  /** Say again what is pointed at: more is known of it now. */
  repeat() {
    this.onPoint(this.pointed ?? null);
  }
}
