"use strict";
(() => {
  const all = (query) => [...document.querySelectorAll(query)];
  const fields = all(".filters [name]");
  const show = () => {
    const wanted = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const part of all("[data-task]")) {
      const fits = ["task", "device", "state"].every(
        (name) => !wanted[name] || part.dataset[name] === undefined || part.dataset[name] === wanted[name]);
      const found = part.dataset.words === undefined || words.every((word) => part.dataset.words.includes(word));
      part.hidden = !(fits && found);
      if (part.dataset.words !== undefined && !part.hidden) shown += 1;
    }
    document.querySelector("#shown").textContent = `${shown} shown`;
  };
  document.body.classList.remove("noscript");
  for (const field of fields) field.addEventListener("input", show);
  show();
})();
