"""What is wrong inside a text that is JSON: doubled members, characters that cannot be kept."""

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from runtime.field_error import FieldError, escape_pointer

_LONGEST_POINTER = 500
FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tab and newline."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# As the tree decoder gives it: objects as tuples of their pairs, numbers as their text.
Tree: TypeAlias = "tuple[tuple[str, Tree], ...] | list[Tree] | str | bool | None"


def find_faults(tree: Tree, pointer: str, field: str) -> Iterator[FieldError]:
    """Every doubled member and every character that cannot be kept, in the order of the text."""
    if isinstance(tree, str):
        unkept = _unkept(tree)
        if unkept is not None:
            yield fault(f"The value holds {unkept[0]}.", unkept[1], pointer, field)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from find_faults(value, _below(pointer, str(index)), field)
    elif isinstance(tree, tuple):
        seen: set[str] = set()
        for name, value in tree:
            inner = _below(pointer, name)
            unkept = _unkept(name)
            if unkept is not None:
                yield fault(f"The name holds {unkept[0]}.", unkept[1], inner, field or name)
            if name in seen:
                error = "The member is there twice; which one counts cannot be known."
                yield fault(error, "duplicate_key", inner, field or name)
            seen.add(name)
            yield from find_faults(value, inner, field or name)


def _below(pointer: str, name: str) -> str:
    # One too long for an answer grows no further: a long name over many values would cost seconds.
    if len(pointer) > _LONGEST_POINTER:
        return pointer
    return f"{pointer}/{escape_pointer(name)}"


def _unkept(text: str) -> tuple[str, str] | None:
    if _SURROGATE.search(text):
        return "half of a surrogate pair, which is no character", "lone_surrogate"
    found = FORBIDDEN.search(text)
    if found is None:
        return None
    return f"the control character U+{ord(found[0]):04X}", "control_character"


def fault(error: str, code: str, pointer: str, field: str = "") -> FieldError:
    """A fault in a body; names that could not be printed are made printable, long ones cut."""
    return FieldError(
        field=_printable(field)[:100] or "body",
        error=error,
        code=code,
        pointer=_printable(pointer) if len(pointer) <= _LONGEST_POINTER else None,
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
