"""The states of a breaker on ``docs/breaker.md``, from the table that the code goes by."""

from __future__ import annotations

from sdkit.breaker.states import OPERATOR, TRANSITIONS, State


def draw() -> str:
    """What calls and time do; the operator's ways, from anywhere, as one note."""
    lines = ["stateDiagram-v2", f"    [*] --> {_id(State.CLOSED)}"]
    lines += [f'    state "{state.value}" as {_id(state)}' for state in State]
    lines += [
        f"    {_id(source)} --> {_id(target)}: {trigger.value}"
        for (source, trigger), target in TRANSITIONS.items()
        if trigger not in OPERATOR
    ]
    ways = [f"{trigger.value}, to {target.value}" for trigger, target in OPERATOR.items()]
    lines += [f"    note right of {_id(State.CLOSED)}", "        An operator, from any state:"]
    lines += [f"        {way}" for way in ways] + ["    end note"]
    return "\n".join(lines) + "\n"


def _id(state: State) -> str:
    return state.name.lower()
