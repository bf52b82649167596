// What makes the page lively. Everything works without it.
(() => {
  "use strict";

  const put = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const fragment = async (from) => {
    const answer = await fetch(from, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.text();
  };

  // The balance, the calls of now, and the movements: of the overview or of the statement.
  const live = document.querySelector("[data-live]");
  if (live && window.EventSource) {
    const calls = live.querySelector("[data-part=live]");
    const moves = live.querySelector("[data-part=moves]");
    const field = (name) => live.querySelector(`[data-field=${name}]`);
    let source, soon, later;
    const ask = () => fragment(moves.dataset.from).then((html) => { moves.innerHTML = html; });
    const show = (now) => {
      put(field("credits"), now.credits);
      put(field("money"), now.money);
      if (now.say) put(field("say"), now.say);
      const behind = field("behind");
      if (behind) behind.hidden = now.known;
      if (calls) {
        if (now.html !== undefined) calls.innerHTML = now.html;
        for (const call of now.calls) {
          const row = calls.querySelector(`[data-call="${call.id}"]`);
          if (!row) continue;
          put(row.querySelector("[data-clock]"), call.clock);
          put(row.querySelector("[data-cost]"), call.cost);
        }
      }
      if (now.moved) {
        // The ledger has what ended a moment later, and on a busy day some seconds.
        soon ??= setTimeout(() => { soon = undefined; ask().catch(() => {}); }, 700);
        clearTimeout(later);
        later = setTimeout(() => ask().catch(() => {}), 5000);
      }
    };
    const wait = () => setTimeout(again, 5000 + 5000 * Math.random());
    const again = () => ask().then(watch, (problem) => {
      if (problem.message === "401") location.reload(); // the session is over
      else wait();
    });
    const watch = () => {
      const own = new EventSource(live.dataset.live);
      source = own;
      own.onmessage = (message) => show(JSON.parse(message.data));
      own.addEventListener("over", () => { own.close(); location.reload(); });
      // A browser comes back by itself to a connection that broke, but gives up after an answer such as 503.
      own.addEventListener("error", () => { if (own.readyState === EventSource.CLOSED) wait(); });
    };
    watch();
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => { if (event.persisted) watch(); });
  }

  // A payment that is waited for.
  const poll = document.querySelector("[data-poll]");
  if (poll && poll.querySelector("[data-again]")) {
    const again = () => setTimeout(async () => {
      try {
        const html = await fragment(poll.dataset.poll);
        if (!html.includes("data-again") || !poll.querySelector("[data-again]")) poll.innerHTML = html;
      } catch { /* asked again below */ }
      if (poll.querySelector("[data-again]")) again();
    }, 1000);
    again();
  }

  // What a choice costs, without leaving the page.
  const shop = document.querySelector("form[data-quote]");
  if (shop) {
    const quote = document.querySelector("[data-part=quote]");
    const other = shop.querySelector("input[name=package][value=other]");
    const ask = async () => {
      const query = new URLSearchParams(new FormData(shop));
      query.set("part", "quote");
      try {
        quote.innerHTML = await fragment(`${shop.dataset.quote}?${query}`);
      } catch {
        shop.submit(); // the whole page says what is wrong, beside its field
      }
    };
    shop.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
    shop.addEventListener("change", (event) => {
      if (event.target.name === "package" && event.target.value === "other") quote.replaceChildren();
      if (event.target.name !== "package" || event.target.value === "other") return;
      for (const bad of shop.querySelectorAll(".bad")) bad.classList.remove("bad");
      for (const field of shop.querySelectorAll("[aria-invalid]")) {
        field.removeAttribute("aria-invalid");
        field.removeAttribute("aria-describedby");
      }
      for (const problem of shop.querySelectorAll(".problem")) problem.remove();
      ask();
    });
    // A quote that is not of what is chosen now must not be paid.
    shop.elements.credits.addEventListener("input", () => {
      if (other) other.checked = true;
      quote.replaceChildren();
    });
  }

  // Not every country's addresses have a postal code.
  const country = document.getElementById("country");
  const postal = document.getElementById("postal_code");
  if (country && postal) {
    const star = country.labels[0].querySelector(".must");
    country.addEventListener("change", () => {
      const needed = "postal" in country.selectedOptions[0].dataset;
      const label = postal.labels[0];
      const marked = label.querySelector(".must");
      if (needed) postal.setAttribute("aria-required", "true");
      else postal.removeAttribute("aria-required");
      if (needed && !marked) label.append(" ", star.cloneNode(true));
      if (!needed && marked) marked.remove();
    });
  }

  // On a phone the navigation is wider than the screen.
  const here = document.querySelector(".top nav [aria-current]");
  const places = here && here.closest("ul");
  if (places) places.scrollLeft = here.offsetLeft - (places.clientWidth - here.offsetWidth) / 2;

  // What is wrong is where the reader is taken.
  const wrong = document.querySelector("[aria-invalid=true]");
  if (wrong) (wrong.matches("fieldset") ? wrong.querySelector("input") : wrong).focus();

  // A new key is copied with one press.
  for (const code of document.querySelectorAll("code.secret")) {
    code.tabIndex = 0;
    code.addEventListener("focus", () => getSelection().selectAllChildren(code));
  }
})();
