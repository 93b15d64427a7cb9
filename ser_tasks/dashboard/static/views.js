// Saved views: names and addresses of this viewer, kept in this browser alone. Without storage or this script there are none.
"use strict";

(() => {
  const box = document.getElementById("views");
  if (!box) return;
  const key = `views of ${box.dataset.viewer}`;
  const list = document.getElementById("views-list");
  const name = document.getElementById("view-name");
  const home = new URL(document.querySelector("header .name a").href).pathname;

  function read() {
    try {
      const found = JSON.parse(localStorage.getItem(key) || "[]");
      return Array.isArray(found) ? found.filter(each => typeof each.name === "string" && String(each.path).startsWith("/")) : [];
    } catch { return []; }
  }

  function write(views) {
    try { localStorage.setItem(key, JSON.stringify(views)); } catch { return; }
    show();
  }

  function show() {
    list.replaceChildren(...read().map(view => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      const remove = document.createElement("button");
      link.textContent = view.name;
      link.href = home + view.path.slice(1);
      remove.type = "button";
      remove.textContent = "Remove";
      remove.setAttribute("aria-label", `Remove ${view.name}`);
      remove.addEventListener("click", () => { write(read().filter(each => each.name !== view.name)); name.focus(); });
      item.append(link, " ", remove);
      return item;
    }));
  }

  const form = document.getElementById("views-form");
  document.getElementById("view-save").addEventListener("click", () => form.requestSubmit());
  form.addEventListener("submit", event => {
    event.preventDefault();
    const path = `/${location.pathname.slice(home.length)}${location.search}`;
    const wanted = name.value.trim();
    if (wanted) write([...read().filter(each => each.name !== wanted), { name: wanted, path }]);
    name.value = "";
  });
  try { localStorage.getItem(key); } catch { return; }
  box.hidden = false;
  show();
})();
