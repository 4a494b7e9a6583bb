// Any number of cards, of which only those in sight exist.

const GAP = 16;
const LEAST = 210; // pixels a card is wide, at least
const PAGE = 200; // pictures asked for at once

export class Grid {
  /** load(start, count) gives {total, pictures}; make(picture) fills a card, open(picture) opens it. */
  constructor(root, { load, make, open }) {
    Object.assign(this, { root, load, make, open, cards: new Map(), pages: new Map(), total: 0 });
    this.high = 0;
    const later = () => {
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.draw();
      });
    };
    addEventListener("scroll", later, { passive: true });
    new ResizeObserver(() => {
      if (root.clientWidth === this.drawn) return;
      this.drawn = root.clientWidth;
      this.clear();
      later();
    }).observe(root);
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Forget everything: another order, other pictures. */
  async reload() {
    this.pages.clear();
    const asked = (this.asked = Symbol("the latest request"));
    const first = await this.#page(0);
    if (this.asked !== asked) return;
    this.total = first.total;
    for (const [index, card] of [...this.cards]) {
      const picture = await this.at(index);
      if (this.asked !== asked) return;
      if (card.dataset.shown === JSON.stringify(picture)) continue; // nothing flickers
      card.remove();
      this.cards.delete(index);
    }
    this.draw();
  }

  clear() {
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
  }

  /** The picture at a place of the order, or nothing. */
  async at(index) {
    if (index < 0 || index >= this.total) return undefined;
    const page = await this.#page(Math.floor(index / PAGE));
    return page.pictures[index % PAGE];
  }

  #page(number) {
    if (!this.pages.has(number)) {
      const page = this.load(number * PAGE, PAGE);
      page.catch(() => this.pages.delete(number));
      this.pages.set(number, page);
    }
    return this.pages.get(number);
  }

  draw() {
    const width = this.root.clientWidth;
    if (!width) return;
    this.columns = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
    this.wide = (width - GAP * (this.columns - 1)) / this.columns;
    this.high = 178 + GAP;
    this.root.style.height = `${Math.ceil(this.total / this.columns) * this.high}px`;
    const top = -this.root.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / this.high) - 2) * this.columns;
    const last = Math.min(this.total, (Math.ceil((top + innerHeight) / this.high) + 2) * this.columns);
    for (const [index, card] of this.cards) {
      if (index >= first && index < last) continue;
      if (card.contains(document.activeElement)) continue; // or the focus would be lost
      card.remove();
      this.cards.delete(index);
    }
    for (let index = first; index < last; index++) if (!this.cards.has(index)) this.#add(index);
  }

  #add(index) {
    const card = document.createElement("div");
    card.className = "card";
    card.setAttribute("role", "listitem");
    card.setAttribute("aria-setsize", this.total);
    card.setAttribute("aria-posinset", index + 1);
    card.dataset.index = index;
    card.style.width = `${this.wide}px`;
    card.style.left = `${(index % this.columns) * (this.wide + GAP)}px`;
    card.style.top = `${Math.floor(index / this.columns) * this.high}px`;
    this.cards.set(index, card);
    // in the order of the numbers, so that the Tab key goes through them
    const next = [...this.root.children].find((other) => Number(other.dataset.index) > index);
    this.root.insertBefore(card, next ?? null);
    this.at(index).then((picture) => {
      if (!picture || this.cards.get(index) !== card) return;
      card.dataset.shown = JSON.stringify(picture);
      const button = document.createElement("button");
      this.make(picture, button);
      button.onclick = () => this.open(picture, index);
      card.append(button);
      if (this.wanted === index) button.focus();
    }, () => {});
  }

  #move(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    const step = steps[event.key] ?? { Home: -this.total, End: this.total }[event.key];
    const card = event.target.closest(".card");
    if (!card || !step) return;
    event.preventDefault();
    this.focus(Math.max(0, Math.min(this.total - 1, Number(card.dataset.index) + step)));
  }

  /** Bring a card into sight and give it the focus, as soon as it is there. */
  focus(index) {
    this.wanted = index;
    const top = this.root.getBoundingClientRect().top + Math.floor(index / this.columns) * this.high;
    if (top < 100 || top + this.high > innerHeight) scrollBy(0, top - innerHeight / 3);
    this.draw();
    this.cards.get(index)?.querySelector("button")?.focus();
  }
}
