"""A model of one's own: `sdkit check FILE --model examples.check_own_model:Text`."""

from collections.abc import Hashable
from typing import ClassVar

from sdkit.check import IMPOSSIBLE, Model, Operation


class Text(Model):
    calls: ClassVar = {"get": False, "put": True, "append": True}  # may it change anything?

    def step(self, state: Hashable, operation: Operation) -> Hashable:
        if operation.op == "get":
            return state if operation.result == state else IMPOSSIBLE
        return f"{state if operation.op == 'append' and state else ''}{operation.argument}"
