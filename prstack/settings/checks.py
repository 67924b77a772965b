"""Types of settings, with what their values must be."""

import typing

from pydantic import Field as Check

Positive = typing.Annotated[int, Check(gt=0)]
Natural = typing.Annotated[int, Check(ge=0)]
Share = typing.Annotated[float, Check(ge=0, le=1)]
Seconds = typing.Annotated[float, Check(gt=0)]
Weight = typing.Annotated[float, Check(ge=0, allow_inf_nan=False)]
