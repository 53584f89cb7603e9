// Renders every formula of the page with the vendored KaTeX; sets data-math-ready when none failed.

// Keeps a formula of up to half a column in one piece, together with the punctuation that follows it.
function keepTogether(node) {
  node.style.whiteSpace = "nowrap";
  if (node.offsetWidth > 320) {
    node.style.whiteSpace = "";
    return;
  }
  const next = node.nextSibling;
  const tail = next?.nodeType === Node.TEXT_NODE ? /^[.,;:)!?]*/.exec(next.data)[0] : "";
  const wrapper = document.createElement("span");
  wrapper.style.whiteSpace = "nowrap";
  node.replaceWith(wrapper);
  wrapper.append(node, tail);
  if (tail) next.data = next.data.slice(tail.length);
}

function renderMath() {
  let failed = 0;
  for (const node of document.querySelectorAll(".arithmatex")) {
    const source = node.textContent;
    const displayMode = source.startsWith("\\[");
    const tex = source.replace(/^\\[([]/, "").replace(/\\[)\]]$/, "");
    try {
      katex.render(tex, node, { displayMode, throwOnError: true });
      if (!displayMode) keepTogether(node);
    } catch (error) {
      failed += 1;
      console.error(`formula ${tex}: ${error.message}`);
    }
  }
  if (failed === 0) document.documentElement.dataset.mathReady = "1";
}

if (window.document$) window.document$.subscribe(renderMath);
else document.addEventListener("DOMContentLoaded", renderMath);
