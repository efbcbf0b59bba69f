"""What the README shows, so that tests do what it says."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")


def block(title: str, language: str, containing: str = "") -> str:
    """The one block of this language, with this in it, below a heading."""
    section = README.partition(f"\n### {title}\n")[2].partition("\n##")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    found = [text for text in found if containing in text]
    assert len(found) == 1, f"README.md has {len(found)} such blocks of {language} in {title}"
    return found[0]
