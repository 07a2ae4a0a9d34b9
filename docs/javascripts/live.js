// A live example is as high as what is in it, and has no title or margin of its own.
for (const frame of document.querySelectorAll(".live iframe")) {
  const fit = () => {
    const page = frame.contentDocument; // null if the site is read from a disk: then it scrolls
    const main = page?.querySelector("main");
    if (!main || page.readyState !== "complete") return;
    page.querySelector("h1").hidden = true;
    page.body.style.background = "transparent";
    main.style.padding = "4px"; // room for the rings of what has the focus
    new ResizeObserver(() => {
      const height = Math.ceil(main.getBoundingClientRect().height);
      if (height) frame.style.height = `${height}px`;
    }).observe(main);
  };
  frame.addEventListener("load", fit);
  fit();
}
