// The switch between light, dark and the system's choice. theme_first.js applies the stored choice before the first paint.

const KEY = "stoker-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored() {
  try {
    return localStorage.getItem(KEY) || "system";
  } catch {
    return "system";
  }
}

function apply(choice) {
  const dark = choice === "dark" || (choice === "system" && system.matches);
  document.documentElement.setAttribute("data-bs-theme", dark ? "dark" : "light");
  document.querySelector('meta[name="theme-color"]')?.setAttribute("content", dark ? "#1c1917" : "#ffffff");
  for (const input of document.querySelectorAll("input[data-theme]")) input.checked = input.value === choice;
  document.dispatchEvent(new CustomEvent("stoker:theme"));
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("input[data-theme]")) return;
  try {
    localStorage.setItem(KEY, event.target.value);
  } catch {
    // The choice then holds for this page only.
  }
  apply(event.target.value);
});
system.addEventListener("change", () => apply(stored()));
addEventListener("storage", (event) => event.key === KEY && apply(stored()));
apply(stored());
