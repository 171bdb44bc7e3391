// Starts the parts of the page one by one: an error in one of them leaves the others working.

function theme() {
  const root = document.documentElement;
  const control = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const update = () => {
    control.querySelector(".says").textContent = isDark() ? "Light" : "Dark";
    control.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  const choose = (name) => {
    root.dataset.theme = name;
    try {
      localStorage.setItem("latent-dedup theme", name);
    } catch {
      // the browser has no storage: the choice lasts until the page is closed
    }
    update();
  };
  try {
    const before = localStorage.getItem("latent-dedup theme");
    if (before) root.dataset.theme = before;
  } catch {
    // the browser has no storage
  }
  control.addEventListener("click", () => choose(isDark() ? "light" : "dark"));
  system.addEventListener("change", update);
  control.hidden = false;
  update();
}

// Highlights the link of the section that is being read.
function current() {
  const links = new Map([...document.querySelectorAll(".side a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of links.keys()) seen.observe(document.getElementById(id));
}

// Opens everything that is folded before the page is printed, and folds it again afterwards.
function printing() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
    for (const image of document.querySelectorAll("img[loading]")) image.loading = "eager";
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
}

const host = (name) => document.querySelector(`[data-${name}]`);
const parts = [
  theme, current, printing,
  ...(data.rules.length ? [() => explorer(host("explorer")), () => gallery(host("gallery"))] : []),
  () => labelling(host("labelling")),
  () => conflicts(host("conflicts")),
  () => leaks(host("leaks")),
  () => anomalies(host("anomalies")),
  ...(data.rules.length ? [() => classes(host("classes"))] : []),
];
for (const part of parts) {
  try {
    part();
  } catch (error) {
    console.error(error);
  }
}
document.documentElement.dataset.ready = String(Math.round(performance.now())); // ms, for measurements
