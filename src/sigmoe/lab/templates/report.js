"use strict";
// The charts and the table of slopes. No library: log-log axes, marks, bars and lines are few.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  // ---- small helpers ----------------------------------------------------------------------

  function svg(name, attributes = {}, parent = null, text = null) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }

  function html(name, properties = {}, parent = null) {
    const node = Object.assign(document.createElement(name), properties);
    if (parent) parent.append(node);
    return node;
  }

  const raised = (power) => [...String(power)].map((sign) => SUPERSCRIPT[sign]).join("");

  // Three significant digits with a true minus sign, as in the sentences of the page.
  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const power = Math.floor(Math.log10(Math.abs(value)));
    if (power < -4 || power > 6) {
      return `${Number((value / 10 ** power).toPrecision(3))}·10${raised(power)}`.replace("-", "−");
    }
    const decimals = Math.max(0, 2 - power);
    return value
      .toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
      .replace("-", "−");
  }

  const slopeText = (value) => (value === null ? "–" : (Math.round(value * 100) / 100 + 0).toFixed(2).replace("-", "−"));
  const positive = (value) => value !== null && value !== undefined && value > 0;
  const kindOf = (curve) => (curve.start === "random" ? `${curve.protocol}, random starts` : curve.protocol);

  // ---- log axes ---------------------------------------------------------------------------

  // Powers of ten; with fewer than two of them in view, 1, 2 and 5 times them.
  function ticks(low, high) {
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const last = Math.floor(Math.log10(high) + 1e-9);
    const steps = last - first + 1 > 1 ? [1] : [1, 2, 5];
    const major = [];
    const minor = [];
    for (let power = first - 1; power <= last; power += 1) {
      for (let digit = 1; digit < 10; digit += 1) {
        const value = digit * 10 ** power;
        if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
        (steps.includes(digit) ? major : minor).push({ value, digit, power });
      }
    }
    return { major, minor, few: steps.length > 1 };
  }

  // Where powers of ten are too few to read an axis by, its numbers are written out.
  function tickText({ value, digit, power }, few) {
    if (few && power >= -4 && power < 7) return Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 6 });
    return digit === 1 ? `10${raised(power)}` : `${digit}·10${raised(power)}`;
  }

  // Ends of the axes: every mean, start and prediction that is shown, and the bars as far as
  // sensible. A lower end more than a factor of 8 below the lowest mean ends in an arrow.
  function ends(curves, shown) {
    const points = curves.flatMap((curve) => curve.points);
    const means = points.map((p) => p.mean).filter(positive);
    if (means.length === 0) return null;
    const drawn = [...means];
    if (shown.has("start")) drawn.push(...points.map((p) => p.start).filter(positive));
    if (shown.has("fisher")) drawn.push(...points.map((p) => p.fisher).filter(positive));
    if (shown.has("fit")) drawn.push(...points.map((p) => p.fit).filter(positive));
    let low = Math.min(...drawn);
    let high = Math.max(...drawn);
    if (shown.has("bars")) {
      const floor = Math.min(...means) / 8;
      low = Math.min(low, ...points.map((p) => p.low).filter(positive).map((end) => Math.max(end, floor)));
      high = Math.max(high, ...points.map((p) => p.high).filter(positive));
    }
    const sizes = points.map((p) => p.n);
    const stretch = Math.min(...sizes) < Math.max(...sizes) ? 1.15 : 1.8;
    return {
      x: [Math.min(...sizes) / stretch, Math.max(...sizes) * stretch],
      y: [low / 1.25, high * 1.25],
    };
  }

  const scale = ([low, high], from, to) => (value) =>
    from + ((Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (to - from);

  // ---- marks ------------------------------------------------------------------------------

  const SHAPES = [
    (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (x, y, r) => `M${x} ${y - 1.2 * r}l${1.15 * r} ${2.1 * r}h${-2.3 * r}z`,
    (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`,
  ];
  const diamond = (x, y, r) => `M${x} ${y - 1.5 * r}l${1.5 * r} ${1.5 * r}l${-1.5 * r} ${1.5 * r}l${-1.5 * r} ${-1.5 * r}z`;
  const shapeOf = (curve) => (curve.start === "random" ? diamond : SHAPES[curve.slot % SHAPES.length]);
  const isHollow = (curve) => curve.start === "random" || curve.protocol !== "converged";
  const path = (points) => points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  // ---- one chart --------------------------------------------------------------------------

  class Chart {
    constructor(board, data) {
      this.data = data;
      this.plot = board.querySelector(".plot");
      this.controls = board.querySelector(".controls");
      this.kinds = [...new Set(data.curves.map(kindOf))];
      this.on = {
        names: new Set(data.names),
        variants: new Set([0]),
        kinds: new Set(this.kinds),
        overlays: new Set(["bars", "fit", "start", "fisher"]),
      };
      this.quantity = data.quantities[0];
      this.buildControls();
      this.tip = html("div", { className: "tip", hidden: true }, this.plot);
      this.live = html("div", { className: "live" }, this.plot);
      this.live.setAttribute("aria-live", "polite");
      Object.assign(this.live.style, { position: "absolute", width: "1px", height: "1px", overflow: "hidden", clipPath: "inset(50%)" });
      this.width = 0;
      new ResizeObserver(() => this.resize()).observe(this.plot);
      this.resize();
    }

    resize() {
      const width = Math.round(this.plot.clientWidth);
      if (width === this.width || width === 0) return;
      this.width = width;
      this.draw();
    }

    // Curves that the switches leave on.
    visible() {
      return this.data.curves.filter((curve) =>
        curve.quantity === this.quantity.key && this.on.names.has(curve.name)
        && this.on.variants.has(curve.variant) && this.on.kinds.has(kindOf(curve)));
    }

    // ---- switches ----

    buildControls() {
      const { data } = this;
      this.group("Curve", data.names.map((name, slot) => ({
        label: name, set: "names", key: name, swatch: { shape: SHAPES[slot % 4], colour: slot % 4, line: "curve" },
      })));
      if (data.variants.length > 1) {
        this.group("Reading", data.variants.map((variant, k) => ({
          label: variant.label, set: "variants", key: k, swatch: { line: "curve", dash: k ? "6 3" : null },
        })));
      }
      this.group("Protocol and start", this.kinds.map((kind) => ({
        label: kind, set: "kinds", key: kind,
        swatch: kind.endsWith("random starts") ? { shape: diamond, hollow: true }
          : { shape: SHAPES[0], hollow: kind !== "converged", line: "curve" },
      })));
      if (data.quantities.length > 1) this.radios();
      this.group("Show", [
        ["bars", "bars of three standard deviations"], ["fit", "fitted lines"],
        ["start", "loss of the start"], ["fisher", "Fisher prediction"],
      ].map(([key, label]) => ({ label, set: "overlays", key, swatch: { line: key } })));
      html("p", { className: "hint", textContent: "Point at a mark for its values, or focus the chart and use the arrow keys." }, this.controls);
    }

    group(title, items) {
      const set = html("fieldset", {}, this.controls);
      html("legend", { textContent: title }, set);
      for (const item of items) {
        const label = html("label", {}, set);
        const box = html("input", { type: "checkbox", checked: this.on[item.set].has(item.key) }, label);
        box.dataset.switch = `${item.set}:${item.key}`;
        box.addEventListener("change", () => {
          this.on[item.set][box.checked ? "add" : "delete"](item.key);
          this.draw();
        });
        label.append(this.swatch(item.swatch));
        html("span", { textContent: item.label }, label);
      }
    }

    radios() {
      const set = html("fieldset", {}, this.controls);
      html("legend", { textContent: "Loss" }, set);
      for (const quantity of this.data.quantities) {
        const label = html("label", {}, set);
        const box = html("input", { type: "radio", name: `loss-${this.data.panel}`, checked: quantity === this.quantity }, label);
        box.dataset.switch = `quantity:${quantity.key}`;
        box.addEventListener("change", () => {
          this.quantity = quantity;
          this.draw();
        });
        html("span", { textContent: quantity.label }, label);
      }
    }

    swatch({ shape = null, hollow = false, colour = null, line = null, dash = null }) {
      const picture = svg("svg", { width: 26, height: 14, viewBox: "0 0 26 14", "aria-hidden": "true" });
      if (colour !== null) picture.classList.add(`k${colour}`);
      if (line === "bars") svg("path", { class: "bars", d: "M13 1V13M10 1h6M10 13h6" }, picture);
      else if (line) svg("path", { class: line, d: "M2 7H24", ...(dash ? { "stroke-dasharray": dash } : {}) }, picture);
      if (shape) svg("path", { class: hollow ? "mark hollow" : "mark", d: shape(13, 7, 3.6) }, picture);
      return picture;
    }

    // ---- drawing ----

    draw() {
      this.plot.querySelector("svg")?.remove();
      this.hide();
      const width = this.width;
      const height = Math.round(Math.min(460, Math.max(300, width * 0.62)));
      const root = svg("svg", {
        viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application",
        "aria-label": `Chart of panel ${this.data.panel}; arrow keys move from value to value`,
      });
      this.plot.prepend(root);
      this.marks = [];
      const curves = this.visible();
      const box = curves.length ? ends(curves, this.on.overlays) : null;
      if (!box) {
        const reason = curves.length ? "Every fit of these curves failed or has a loss of zero." : "Every curve is switched off.";
        svg("text", { class: "empty", x: width / 2, y: height / 2, "text-anchor": "middle" }, root, reason);
        return;
      }
      const frame = { left: 58, right: width - 52, top: 18, bottom: height - 46 };
      const x = scale(box.x, frame.left, frame.right);
      const y = scale(box.y, frame.bottom, frame.top);
      this.axes(root, frame, box, x, y);
      this.beneath(root, curves, x, y);
      for (const curve of curves) this.curve(root, frame, curve, x, y);
      this.labels(root, frame);
      this.listen(root);
    }

    axes(root, frame, box, x, y) {
      const group = svg("g", { class: "axes" }, root);
      const across = ticks(...box.x);
      const up = ticks(...box.y);
      for (const tick of up.major) {
        svg("path", { class: "gridline", d: `M${frame.left} ${y(tick.value)}H${frame.right}` }, group);
        svg("text", { x: frame.left - 9, y: y(tick.value) + 4, "text-anchor": "end" }, group, tickText(tick, up.few));
      }
      for (const tick of across.major) {
        svg("path", { class: "gridline", d: `M${x(tick.value)} ${frame.top}V${frame.bottom}` }, group);
        svg("text", { x: x(tick.value), y: frame.bottom + 19, "text-anchor": "middle" }, group, tickText(tick, across.few));
      }
      let marks = `M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}`;
      for (const [list, size] of [[up.major, 6], [up.minor, 3]]) {
        for (const tick of list) marks += `M${frame.left} ${y(tick.value)}h${-size}`;
      }
      for (const [list, size] of [[across.major, 6], [across.minor, 3]]) {
        for (const tick of list) marks += `M${x(tick.value)} ${frame.bottom}v${size}`;
      }
      svg("path", { class: "axis", d: marks }, group);
      svg("text", { x: (frame.left + frame.right) / 2, y: frame.bottom + 40, "text-anchor": "middle" }, group, "sample size n");
      svg("text", { transform: `translate(13 ${(frame.top + frame.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, group, this.quantity.axis);
    }

    aside(curve) {
      // Bars at the same n must not hide each other; the values keep their true n.
      return (curve.slot - (this.data.names.length - 1) / 2) * 6;
    }

    // What several protocols share is drawn once, for the longest of their curves.
    beneath(root, curves, x, y) {
      const longest = new Map();
      for (const curve of curves.filter((one) => one.start !== "random")) {
        const key = `${curve.name}|${curve.variant}`;
        if (!(longest.get(key)?.points.length >= curve.points.length)) longest.set(key, curve);
      }
      const group = svg("g", { class: "beneath" }, root);
      for (const curve of longest.values()) {
        const place = svg("g", { class: `k${curve.slot % 4}` }, group);
        for (const key of ["fisher", "start"]) {
          const points = curve.points.filter((p) => positive(p[key]));
          if (this.on.overlays.has(key)) this.line(place, key, points.map((p) => [x(p.n) + this.aside(curve), y(p[key])]));
        }
      }
    }

    curve(root, frame, curve, x, y) {
      const shown = this.on.overlays;
      const group = svg("g", {
        class: `series k${curve.slot % 4} ${curve.protocol}${isHollow(curve) ? " hollow" : ""}`,
        "data-name": curve.name, "data-kind": kindOf(curve), "data-variant": curve.variant,
      }, root);
      const aside = this.aside(curve);
      const along = (key) => curve.points.filter((p) => positive(p[key])).map((p) => [x(p.n) + aside, y(p[key])]);
      const random = curve.start === "random";
      if (shown.has("fit") && !random) this.line(group, "fit", along("fit"));
      if (!random) this.line(group, "curve", along("mean"), curve.variant ? "6 3" : null);
      if (shown.has("bars") && !random) this.bars(group, frame, curve, x, y, aside);
      for (const point of curve.points) this.mark(group, frame, curve, point, x(point.n) + aside, y);
    }

    line(group, kind, points, dash = null) {
      if (points.length < 2) return;
      svg("path", { class: kind, d: path(points), ...(dash ? { "stroke-dasharray": dash } : {}) }, group);
    }

    bars(group, frame, curve, x, y, aside) {
      let lines = "";
      for (const point of curve.points) {
        if (!positive(point.mean) || point.low === null || point.low === point.high) continue;
        const at = x(point.n) + aside;
        const top = y(point.high);
        const cut = !positive(point.low) || y(point.low) > frame.bottom + 0.5;
        const foot = cut ? frame.bottom : y(point.low);
        lines += `M${at} ${top}V${foot}M${at - 3} ${top}h6`;
        if (cut) svg("path", { class: "arrow", d: `M${at - 4} ${foot - 1}h8l-4 8z` }, group);
        else lines += `M${at - 3} ${foot}h6`;
      }
      if (lines) svg("path", { class: "bars", d: lines }, group);
    }

    mark(group, frame, curve, point, at, y) {
      if (point.failed) {
        const row = frame.top + 2 + 12 * (curve.slot % 4) + (isHollow(curve) ? 24 : 0);
        svg("text", { class: "failed", x: at, y: row, "text-anchor": "middle" }, group, `${point.failed} failed`);
      }
      if (point.mean === null) return;
      let height = frame.bottom;
      if (point.mean > 0) {
        height = y(point.mean);
        svg("path", { class: "mark", d: shapeOf(curve)(at, height, 4), "data-n": point.n, "data-mean": point.mean }, group);
      } else {
        svg("text", { class: "label mark-zero", x: at, y: height - 4, "text-anchor": "middle" }, group, "0");
      }
      this.marks.push({ x: at, y: height, curve, point });
    }

    // The slope of each curve beside its last mark, moved apart where two would overlap.
    labels(root, frame) {
      const last = new Map();
      for (const mark of this.marks) if (mark.curve.slope !== null) last.set(mark.curve, mark);
      const placed = [...last.values()].sort((a, b) => a.y - b.y);
      let below = -Infinity;
      for (const mark of placed) {
        const row = Math.min(frame.bottom, Math.max(mark.y + 4, below + 14));
        below = row;
        svg("text", { class: `label k${mark.curve.slot % 4}`, x: Math.min(mark.x + 10, frame.right + 8), y: row }, root, slopeText(mark.curve.slope));
      }
    }

    // ---- reading values ----

    listen(root) {
      root.addEventListener("pointermove", (event) => {
        const at = root.getBoundingClientRect();
        const px = ((event.clientX - at.left) / at.width) * this.width;
        const py = ((event.clientY - at.top) / at.width) * this.width;
        const near = (mark) => Math.hypot(mark.x - px, mark.y - py);
        const best = this.marks.reduce((a, b) => (a && near(a) <= near(b) ? a : b), null);
        if (best && near(best) < 28) this.show(root, best);
        else this.hide();
      });
      root.addEventListener("pointerleave", () => this.hide());
      root.addEventListener("blur", () => this.hide());
      root.addEventListener("keydown", (event) => this.key(root, event));
    }

    key(root, event) {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (event.key === "Escape") this.hide();
      if (!step || this.marks.length === 0) return;
      event.preventDefault();
      const curves = [...new Set(this.marks.map((mark) => mark.curve))];
      const now = this.current ?? this.marks[0];
      let target = now;
      if (this.current) {
        const row = (curves.indexOf(now.curve) + step[0] + curves.length) % curves.length;
        const marks = this.marks.filter((mark) => mark.curve === curves[row]);
        const same = marks.findIndex((mark) => mark.point.n >= now.point.n);
        const column = (same < 0 ? marks.length - 1 : same) + step[1];
        target = marks[Math.min(marks.length - 1, Math.max(0, column))];
      }
      this.show(root, target);
      this.live.textContent = this.tip.innerText;
    }

    show(root, mark) {
      if (this.current === mark) return;
      this.hide();
      this.current = mark;
      this.ring = svg("circle", { class: "ring", cx: mark.x, cy: mark.y, r: 8 }, root);
      const { curve, point } = mark;
      this.tip.replaceChildren();
      html("b", { textContent: `${curve.name}, ${kindOf(curve)} (${curve.scope})` }, this.tip);
      html("span", { textContent: this.data.variants[curve.variant].label }, this.tip);
      const list = html("dl", {}, this.tip);
      const rows = [
        ["n", point.n.toLocaleString("en-US")], [`mean ${curve.loss}`, number(point.mean)],
        ["standard deviation", number(point.sd)], ["median", number(point.median)],
        ["fits", point.reps], ["failed", point.failed], ["start’s loss", number(point.start)],
        ["Fisher prediction", number(point.fisher)], ["fitted line", number(point.fit)],
        ["slope", curve.low === null ? slopeText(curve.slope) : `${slopeText(curve.slope)} [${slopeText(curve.low)}, ${slopeText(curve.high)}]`],
      ];
      if (curve.paper !== null) rows.push(["paper’s slope", slopeText(curve.paper)]);
      for (const [term, value] of rows) {
        html("dt", { textContent: term }, list);
        html("dd", { textContent: value }, list);
      }
      this.tip.hidden = false;
      const room = this.plot.clientWidth;
      if (room < 480) {
        // Beside the mark there is no room that the chart does not need.
        this.tip.style.left = "0";
        this.tip.style.top = `${root.clientHeight}px`;
        return;
      }
      const left = mark.x + 16 + this.tip.offsetWidth > room ? mark.x - 16 - this.tip.offsetWidth : mark.x + 16;
      this.tip.style.left = `${Math.max(0, Math.min(left, room - this.tip.offsetWidth))}px`;
      this.tip.style.top = `${Math.max(0, mark.y - this.tip.offsetHeight / 2)}px`;
    }

    hide() {
      this.ring?.remove();
      this.current = null;
      if (this.tip) this.tip.hidden = true;
    }
  }

  // ---- the table of slopes ----------------------------------------------------------------

  class SlopeTable {
    constructor(table) {
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.heads = [...table.tHead.rows[0].cells];
      this.count = document.getElementById("slope-count");
      this.selects = new Map();
      this.buildFilters(document.getElementById("slope-filters"));
      this.heads.forEach((head, column) => this.sortable(head, column));
      this.filter();
    }

    buildFilters(place) {
      for (const title of ["Panel", "Curve", "Reading", "Protocol", "Start", "Loss", "Statistic"]) {
        const column = this.heads.findIndex((head) => head.textContent.trim() === title);
        const values = [...new Set(this.rows.map((row) => row.cells[column].textContent.trim()))].sort();
        if (values.length < 2) continue;
        const label = html("label", { textContent: title }, place);
        const select = html("select", {}, label);
        html("option", { value: "", textContent: "all" }, select);
        for (const value of values) html("option", { value, textContent: value }, select);
        if (title === "Statistic" && values.includes(place.dataset.statistic)) select.value = place.dataset.statistic;
        select.addEventListener("change", () => this.filter());
        this.selects.set(column, select);
      }
      const search = html("label", { textContent: "Contains" }, place);
      this.search = html("input", { type: "search", placeholder: "any text" }, search);
      this.search.addEventListener("input", () => this.filter());
      const own = html("label", { className: "check" }, place);
      this.own = html("input", { type: "checkbox", checked: true }, own);
      html("span", { textContent: "the curve’s own loss only" }, own);
      this.own.addEventListener("change", () => this.filter());
    }

    filter() {
      const wanted = this.search.value.trim().toLowerCase();
      let shown = 0;
      for (const row of this.rows) {
        let keep = !this.own.checked || row.dataset.own === "1";
        for (const [column, select] of this.selects) {
          keep &&= !select.value || row.cells[column].textContent.trim() === select.value;
        }
        keep &&= !wanted || row.textContent.toLowerCase().includes(wanted);
        row.hidden = !keep;
        shown += keep;
      }
      this.count.textContent = `${shown} of ${this.rows.length} slopes`;
    }

    sortable(head, column) {
      if (head.classList.contains("wide")) return;
      const button = html("button", { type: "button", textContent: head.textContent.trim() });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of this.heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        this.sort(column, down);
      });
    }

    // Cells without a value come last in either direction.
    sort(column, down) {
      const numeric = this.heads[column].classList.contains("num");
      const value = (row) => {
        const cell = row.cells[column];
        const text = cell.dataset.value ?? cell.textContent.trim();
        return numeric ? (text === "" ? NaN : Number(text)) : text;
      };
      const keyed = this.rows.map((row) => [value(row), row]);
      keyed.sort(([a], [b]) => {
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      this.rows = keyed.map(([, row]) => row);
      this.body.append(...this.rows);
    }
  }

  const data = JSON.parse(document.getElementById("chart-data").textContent);
  for (const board of document.querySelectorAll("[data-chart]")) new Chart(board, data[board.dataset.chart]);
  const table = document.getElementById("slope-table");
  if (table) new SlopeTable(table);
})();
