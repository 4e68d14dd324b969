// Runs before the first paint (a plain script in the head), so that a dark page never flashes white.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("stoker-theme");
  } catch (error) {
    // Storage may be forbidden; the system's choice is used then.
  }
  var dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  var root = document.documentElement;
  root.setAttribute("data-bs-theme", dark ? "dark" : "light");
  root.classList.toggle("dark-mode", dark); // the name that the API's documentation knows
  root.classList.remove("no-js");
  root.classList.add("js");
})();
