// Asks every few seconds how far the studies are, and loads the page again when a number changed.
const state = document.getElementById("state");
let known = null;
async function look() {
  try {
    const answer = await fetch("/studies.json");
    if (!answer.ok) throw new Error(answer.statusText);
    const now = await answer.text();
    if (known !== null && now !== known && document.visibilityState === "visible") location.reload();
    known = now;
    state.textContent = "";
  } catch {
    state.textContent = "The server does not answer. Start fathom serve again.";
  }
  setTimeout(look, 5000);
}
look();
