"""The TeX that reports use, as MathML: symbols, scripts, fractions, roots, accents, fences. No macros.

Browsers draw MathML themselves, so a report needs no script, font or network.
"""

from __future__ import annotations

import re
from html import escape

_TOKEN = re.compile(r"\\[a-zA-Z]+\*?|\\.|\s+|[0-9]+(?:\.[0-9]+)?|.", flags=re.DOTALL)

_GREEK = (
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ "
    "mu μ nu ν xi ξ pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ "
    "Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω ell ℓ infty ∞ partial ∂ nabla ∇ top ⊤ emptyset ∅ hbar ℏ"
)
_OPERATORS = (
    "le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ ll ≪ gg ≫ approx ≈ sim ∼ simeq ≃ equiv ≡ propto ∝ pm ± mp ∓ times × cdot ⋅ "
    "circ ∘ ast ∗ star ⋆ in ∈ notin ∉ subset ⊂ subseteq ⊆ cup ∪ cap ∩ to → rightarrow → leftarrow ← mapsto ↦ "
    "Rightarrow ⇒ iff ⇔ leftrightarrow ↔ ldots … dots … cdots ⋯ mid ∣ parallel ∥ perp ⊥ forall ∀ exists ∃ "
    "setminus ∖ otimes ⊗ oplus ⊕ dagger † prime ′ succeq ⪰ preceq ⪯ colon : lesssim ≲ gtrsim ≳"
)
_FENCES = (
    "langle ⟨ rangle ⟩ lVert ‖ rVert ‖ Vert ‖ lvert | rvert | vert | lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ { { } } | ‖"
)
_LARGE = "sum ∑ prod ∏ int ∫ iint ∬ oint ∮"
_FUNCTIONS = "log ln exp sin cos tan max min sup inf det lim arg dim ker tr diag limsup liminf Pr tanh"
_ACCENTS = "bar ‾ overline ‾ hat ^ widehat ^ tilde ~ widetilde ~ dot ˙ ddot ¨ vec →"
_FONTS = {"mathbb": "double-struck", "mathcal": "script", "mathbf": "bold", "boldsymbol": "bold", "mathfrak": "fraktur"}
_LETTERS = {
    "double-struck": dict(zip("CEHNPQRZ", "ℂ𝔼ℍℕℙℚℝℤ", strict=True)),
    "script": dict(zip("ABDEFHILMNPRW", "𝒜ℬ𝒟ℰℱℋℐℒℳ𝒩𝒫ℛ𝒲", strict=True)),
}
_SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", "!": "-0.17em", " ": "0.25em", "quad": "1em", "qquad": "2em"}


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


GREEK, OPERATORS, FENCES, LARGE, ACCENTS = map(_pairs, (_GREEK, _OPERATORS, _FENCES, _LARGE, _ACCENTS))
_LIMITS = frozenset("\\" + name for name in ("sum", "prod", "max", "min", "sup", "inf", "lim", "limsup", "liminf"))
FUNCTIONS = frozenset(_FUNCTIONS.split())


def mathml(tex: str, *, display: bool = False) -> str:
    """TeX as a ``<math>`` element; what is not understood is shown as its source in ``<code>``."""
    try:
        body = _Reader(tex).everything()
    except ValueError:
        return f'<code class="tex">{escape(tex)}</code>'
    mode = ' display="block"' if display else ""
    return f"<math{mode}><mrow>{body}</mrow></math>"


def in_words(tex: str) -> str:
    r"""TeX as one line of plain text, for where no formula can stand: ``\sqrt{n}`` is ``√n``."""
    words = []
    for token in _TOKEN.findall(tex):
        name = token[1:] if token.startswith("\\") else ""
        if name in _SPACES:
            words.append(" ")
        elif name:
            known = (GREEK, OPERATORS, FENCES, LARGE, {"sqrt": "√"})
            words.append(next((t[name] for t in known if name in t), name if name in FUNCTIONS else ""))
        elif token not in "{}$":
            words.append(token)
    return " ".join("".join(words).split())


class _Reader:
    """Recursive descent over tokens; raises ValueError for what is not in the tables."""

    def __init__(self, tex: str) -> None:
        self._tokens = [t for t in _TOKEN.findall(tex) if not t.isspace()]
        self._at = 0

    def everything(self) -> str:
        body = self._row(())
        if self._peek() is not None:
            raise ValueError(f"unexpected {self._peek()}")
        return body

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            raise ValueError("the formula ends too early")
        self._at += 1
        return token

    def _row(self, ends: tuple[str, ...]) -> str:
        parts = []
        while (token := self._peek()) is not None and token not in (*ends, "}"):
            parts.append(self._scripted())
        return "".join(parts)

    def _scripted(self) -> str:
        limits = (self._peek() or "") in _LIMITS
        base = self._atom()
        scripts: dict[str, str] = {}
        while (token := self._peek()) is not None and token in ("_", "^", "'"):
            self._next()
            kind = "_" if token == "_" else "^"
            scripts[kind] = scripts.get(kind, "") + ("<mo>′</mo>" if token == "'" else self._atom())
        if not scripts:
            return base
        names = (
            {"_": "munder", "^": "mover", "_^": "munderover"} if limits else {"_": "msub", "^": "msup", "_^": "msubsup"}
        )
        kinds = "".join(k for k in "_^" if k in scripts)
        name = names[kinds]
        return f"<{name}>{base}{''.join(f'<mrow>{scripts[k]}</mrow>' for k in kinds)}</{name}>"

    def _group(self) -> str:
        body = self._row(())
        if self._next() != "}":
            raise ValueError("expected }")
        return f"<mrow>{body}</mrow>"

    def _words(self) -> str:
        """The raw text of a braced argument."""
        if self._next() != "{":
            raise ValueError("expected {")
        words = []
        while (token := self._next()) != "}":
            words.append(token)
        return "".join(words)

    def _atom(self) -> str:
        token = self._next()
        if token == "{":
            return self._group()
        if token.startswith("\\"):
            return self._command(token[1:])
        if token.isdigit() or token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token == "/":
            return '<mo lspace="0.1em" rspace="0.1em">/</mo>'
        if token in "&#$%_^":
            raise ValueError(f"unexpected {token}")
        return f"<mo>{escape(token.replace('-', '−'))}</mo>" if token not in "([|])" else _fence(token)

    def _command(self, name: str) -> str:
        if name in GREEK:
            upright = (
                ' mathvariant="normal"' if name[0].isupper() or name in ("infty", "partial", "nabla", "top") else ""
            )
            return f"<mi{upright}>{GREEK[name]}</mi>"
        if name in OPERATORS:
            return f"<mo>{OPERATORS[name]}</mo>"
        if name in LARGE:
            return f'<mo movablelimits="true">{LARGE[name]}</mo>'
        if name in FENCES:
            return _fence(FENCES[name])
        if name in FUNCTIONS:
            return f'<mo movablelimits="true" lspace="0" rspace="0.1em">{name}</mo>'
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"/>'
        if name in ACCENTS:
            return f'<mover accent="true"><mrow>{self._atom()}</mrow><mo>{ACCENTS[name]}</mo></mover>'
        return self._structure(name)

    def _structure(self, name: str) -> str:
        if name in ("frac", "tfrac", "dfrac"):
            return f"<mfrac><mrow>{self._atom()}</mrow><mrow>{self._atom()}</mrow></mfrac>"
        if name == "sqrt":
            return self._root()
        if name in ("text", "mathrm", "operatorname", "textrm", "mathsf", "texttt"):
            words = self._words()
            return (
                f"<mtext>{escape(words)}</mtext>"
                if name == "text"
                else f'<mi mathvariant="normal">{escape(words)}</mi>'
            )
        if name in _FONTS:
            words = self._words()
            letters = _LETTERS.get(_FONTS[name], {})
            return f'<mi mathvariant="{_FONTS[name]}">{escape("".join(letters.get(c, c) for c in words))}</mi>'
        if name in ("left", "right", "bigl", "bigr", "Bigl", "Bigr", "big", "Big"):
            token = self._next()
            fence = FENCES.get(token[1:], "") if token.startswith("\\") else token.replace(".", "")
            return f'<mo stretchy="true">{escape(fence)}</mo>'
        raise ValueError(f"unknown command {name}")

    def _root(self) -> str:
        if self._peek() != "[":
            return f"<msqrt>{self._atom()}</msqrt>"
        self._next()
        index = self._row(("]",))
        self._next()
        return f"<mroot><mrow>{self._atom()}</mrow><mrow>{index}</mrow></mroot>"


def _fence(symbol: str) -> str:
    return f'<mo stretchy="false" lspace="0" rspace="0">{escape(symbol)}</mo>'
