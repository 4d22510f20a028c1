"use strict";
// Starts the terminal of textual-serve when its font is there: a terminal measures its cells once.
(() => {
  const terminal = document.getElementById("terminal");
  // Made from the address that the browser knows: behind a forwarded port the server knows another one.
  const here = new URL("ws", window.location.href);
  here.protocol = here.protocol === "https:" ? "wss:" : "ws:";
  here.search = here.hash = "";
  terminal.dataset.sessionWebsocketUrl = here.href;
  document.getElementById("again").addEventListener("click", () => window.location.reload());

  const start = () => {
    const script = document.createElement("script");
    script.src = "/static/js/textual.js";
    script.onload = () => {
      // It waits for the window's load, which is over.
      window.onload(new Event("load"));
      // Keys work without a click.
      terminal.querySelector(".xterm-helper-textarea").focus();
    };
    document.head.append(script);
  };
  const loaded = new Promise((resolve) => window.addEventListener("load", resolve, { once: true }));
  const fonts = ["16px", "bold 16px", "italic 16px"].map((style) => document.fonts.load(`${style} "Roboto Mono"`));
  Promise.allSettled([loaded, ...fonts]).then(start);
})();
