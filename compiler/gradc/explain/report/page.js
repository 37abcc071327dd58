"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tabs = all("[role=tab]");
  const gates = JSON.parse(document.getElementById("gates").textContent);

  function open(tab, focus) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) tab.focus();
    if (location.protocol !== "about:") history.replaceState(null, "", "#tab=" + tab.id); // not in a notebook's frame
  }

  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => open(tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = step ? (at + step + tabs.length) % tabs.length : { Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      open(tabs[to], true);
    });
  });

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  for (const box of all("input[data-hide]")) {
    box.addEventListener("change", () => document.querySelector(".picture").classList.toggle(box.dataset.hide, !box.checked));
  }

  // A gate, its equations, its lines in the kernel and its derivative rule belong together.
  let pinned = null;

  function light(name, from) {
    for (const lit of all(".lit")) lit.classList.remove("lit");
    const gate = gates[name];
    if (!gate) return;
    for (const group of all("g[data-gate]")) if (group.dataset.gate === name) group.classList.add("lit");
    for (const pane of all(".panes pre")) {
      const names = pane.getAttribute("aria-label") === "kernel" ? [...gate.tensors, ...gate.kernel] : gate.tensors;
      const lines = all(".line", pane).filter((line) => names.includes(line.dataset.tensor));
      for (const line of lines) line.classList.add("lit");
      if (lines.length && pane !== from) pane.scrollTop = lines[0].offsetTop - pane.offsetTop - pane.clientHeight / 3;
    }
    document.getElementById("detail").replaceChildren(document.getElementById("rule-" + gate.number).content.cloneNode(true));
  }

  function nameOf(element) {
    const gate = element.closest("g[data-gate]");
    if (gate) return gate.dataset.gate;
    const line = element.closest(".line[data-tensor]");
    return line && Object.keys(gates).find((name) => gates[name].tensors.includes(line.dataset.tensor));
  }

  const panel = document.getElementById("panel-graph");
  panel.addEventListener("mouseover", (event) => {
    const name = nameOf(event.target);
    if (name && !pinned) light(name, event.target.closest("pre"));
  });
  panel.addEventListener("click", (event) => {
    const name = nameOf(event.target);
    pinned = name && name !== pinned ? name : null;
    if (name) light(name, event.target.closest("pre"));
  });
  for (const group of all("g[data-gate]")) {
    if (!gates[group.dataset.gate]) continue;
    group.setAttribute("tabindex", "0");
    group.addEventListener("focus", () => light(group.dataset.gate, null));
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") pinned = null; });

  const asked = tabs.find((tab) => "#tab=" + tab.id === location.hash);
  open(asked || tabs[0], false);
})();
