"""What is wrong with one field of a request of the admin port."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldFault:
    """A field by its place and the rule it breaks; never its value."""

    field: str
    rule: str
