"use strict";
// All of the page can be read without this: it sorts, filters, and says more to whoever points.
(() => {
  const tip = document.getElementById("tip");
  const each = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);

  function value(row, column) {
    const cell = row.cells[column];
    return "k" in cell.dataset ? Number(cell.dataset.k) : cell.textContent.trim();
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), document.documentElement.lang, { numeric: true });
  }
  function sort(table, column, head) {
    const falls = head.getAttribute("aria-sort") === "ascending";
    each("thead th", (one) => one.removeAttribute("aria-sort"), table);
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort((a, b) => (falls ? compare(b[0], a[0]) : compare(a[0], b[0])));
    body.append(...rows.map(([, row]) => row));
  }
  function sortable(table) {
    if (table.tBodies[0].rows.length < 2) return;
    each("thead th", (head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, column, head));
      head.append(button);
    }, table);
  }
  function filterable(part) {
    const filter = part.querySelector(".filter");
    if (!filter) return;
    const input = filter.querySelector("input");
    const output = filter.querySelector("output");
    const rows = [...part.querySelectorAll("tbody tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    filter.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, number) => {
        row.hidden = !words.every((word) => texts[number].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      output.value = words.length ? output.dataset.say.replace("#", shown) : "";
    });
  }

  function show(text, event) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - width - 8);
    const above = event.clientY - height - 12;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${above > 8 ? above : event.clientY + 18}px`;
  }
  function cell(svg, mark, event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const { cell: size, left, top } = svg.dataset;
    const machine = svg.querySelectorAll(".machine")[Math.floor((place.y - top) / size)];
    const column = svg.querySelectorAll(".column")[Math.floor((place.x - left) / size)];
    if (!machine || !column) return "";
    return `${machine.dataset.name} · ${column.dataset.name}: ${mark.dataset.hint}`;
  }
  function hinted(svg) {
    // Where the browser would show a title late, ours is shown at once.
    each("g > title, path > title", (title) => {
      title.parentNode.dataset.hint = title.textContent;
      title.remove();
    }, svg);
    const hint = (event) => {
      const mark = event.target.closest("[data-hint]");
      if (!mark) return show("", event);
      return show(svg.dataset.cell ? cell(svg, mark, event) : mark.dataset.hint, event);
    };
    svg.addEventListener("pointermove", hint);
    svg.addEventListener("pointerdown", hint);
    svg.addEventListener("pointerleave", (event) => show("", event));
  }
  function enhance() {
    each("table", sortable);
    each(".table", filterable);
    each(".chart", hinted);
  }
  enhance();
  if (tip) addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const links = new Map();
  each(".bar a", (link) => links.set(link.hash.slice(1), link));
  const seen = links.size && "IntersectionObserver" in window && new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.querySelector("h2").id)?.setAttribute("aria-current", "true");
    });
  }, { rootMargin: "-15% 0px -75% 0px" });
  function track() {
    if (seen) each("main > section", (section) => seen.observe(section));
  }
  track();

  // How a reader has arranged a table, by its name: what it is sorted by, filtered for and scrolled to.
  function arrangement(main) {
    return [...main.querySelectorAll(".table[id]")].map((part) => {
      const head = part.querySelector("thead [aria-sort]");
      const { scrollLeft, scrollTop } = part.querySelector(".scroll");
      return {
        id: part.id,
        column: head ? head.cellIndex : -1,
        falls: head && head.getAttribute("aria-sort") === "descending",
        words: part.querySelector(".filter input")?.value ?? "",
        scrollLeft, scrollTop,
      };
    });
  }
  function arrange(before) {
    before.forEach(({ id, column, falls, words, scrollLeft, scrollTop }) => {
      const part = document.getElementById(id);
      if (!part) return;
      const table = part.querySelector("table");
      const head = table.tHead.rows[0].cells[column];
      if (head?.querySelector("button")) {
        sort(table, column, head);
        if (falls) sort(table, column, head);
      }
      const input = part.querySelector(".filter input");
      if (input && words) {
        input.value = words;
        input.dispatchEvent(new Event("input"));
      }
      Object.assign(part.querySelector(".scroll"), { scrollLeft, scrollTop });
    });
  }

  // A live page hears that it is no longer true, and asks for itself again.
  async function renew(main, version) {
    if (version === main.dataset.version || main.querySelector("input:focus")) return;
    const answer = await fetch(location.href, { redirect: "manual" });
    if (!answer.ok) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.querySelector("main[data-version]");
    if (!next) return location.reload();
    const before = arrangement(main);
    const open = new Set([...main.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
    main.replaceChildren(...next.childNodes);
    main.dataset.version = next.dataset.version;
    each("details", (part) => {
      if (open.has(part.querySelector("summary").textContent)) part.open = true;
    }, main);
    // What stands outside says of when it is.
    for (const place of [".sub", "footer"]) {
      const [old, now] = [document.querySelector(place), page.querySelector(place)];
      if (old && now) old.replaceChildren(...now.childNodes);
    }
    enhance();
    arrange(before);
    track();
  }
  const live = document.querySelector("main[data-events]");
  if (live) {
    const events = new EventSource(live.dataset.events);
    // One after the other, so that what was asked for later is what stays.
    let turn = Promise.resolve();
    let newest = live.dataset.version;
    const follow = () => { turn = turn.then(() => renew(live, newest)).catch(() => {}); };
    events.addEventListener("state", (event) => { newest = event.data; follow(); });
    live.addEventListener("focusout", follow);
    // The browser comes back by itself after a cut, but not after a refusal: then the page says why.
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 30000);
    });
  }

  addEventListener("beforeprint", () => each("details", (part) => { part.open = true; }));
})();
