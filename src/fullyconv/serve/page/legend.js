// The classes of a picture, largest first: each can be switched off, and says its share.

export class Legend {
  constructor(root, onChange) {
    this.root = root;
    this.off = new Set(); // stays from picture to picture
    root.addEventListener("change", (event) => {
      const id = Number(event.target.value);
      if (event.target.checked) this.off.delete(id);
      else this.off.add(id);
      onChange();
    });
    root.addEventListener("click", (event) => {
      const all = event.target.dataset.all;
      if (all === undefined) return;
      for (const box of root.querySelectorAll("input")) {
        box.checked = all === "on";
        if (box.checked) this.off.delete(Number(box.value));
        else this.off.add(Number(box.value));
      }
      onChange();
    });
  }

  isOn(id) {
    return !this.off.has(id);
  }

  show(categories) {
    if (!categories.length) {
      this.root.replaceChildren();
      return;
    }
    const sorted = [...categories].sort((a, b) => b.share - a.share || a.id - b.id);
    const here = sorted.filter((c) => c.share > 0);
    const absent = sorted.filter((c) => !(c.share > 0));
    const list = document.createElement("ul");
    list.append(...here.map((c) => this.#row(c)));
    const both = document.createElement("div");
    both.className = "row";
    for (const [key, text] of [["on", "All on"], ["off", "All off"]]) {
      const button = document.createElement("button");
      button.className = "small";
      button.dataset.all = key;
      button.textContent = text;
      both.append(button);
    }
    this.root.replaceChildren(list, both);
    if (absent.length) {
      const rest = document.createElement("p");
      rest.className = "quiet";
      const named = absent.length > 60 ? `${absent.length} classes` : absent.map((c) => c.name).join(", ");
      rest.textContent = `Not in this picture: ${named}`;
      this.root.append(rest);
    }
  }

  /** Mark the class that is pointed at. */
  point(id) {
    for (const row of this.root.querySelectorAll("li"))
      row.toggleAttribute("data-here", row.dataset.id === String(id));
  }

  #row({ id, name, color, share, note = percent(share) }) {
    const row = document.createElement("li");
    row.dataset.id = id;
    row.innerHTML = `<label><input type="checkbox"><span class="swatch"></span>
      <span class="name"></span><span class="share"></span><span class="bar"></span></label>`;
    const box = row.querySelector("input");
    box.value = id;
    box.checked = this.isOn(id);
    row.style.setProperty("--color", color);
    row.style.setProperty("--share", share);
    row.querySelector(".name").textContent = name;
    row.querySelector(".share").textContent = note;
    return row;
  }
}

/** 0.123 as 12.3 %, what is there but small as < 0.1 %. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}
