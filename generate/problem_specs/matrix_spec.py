"""The parameters of matrix problems."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Spectrum
from mathpipe.generate.dataset_spec import ProblemSpec

LARGEST_DIMENSION = 100
Dimension = Annotated[int, Field(ge=1, le=LARGEST_DIMENSION)]


def _split_names(names: object) -> object:
    """``"laplace,semicircle"`` as two names; None and the empty string as no names."""
    if names is None:
        return ()
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names


def _in_order(names: tuple[Spectrum, ...]) -> tuple[Spectrum, ...]:
    """Sort the names: a mixture is a set, so its spec needs one fingerprint."""
    if len(set(names)) != len(names):
        raise ValueError("names a spectrum twice: each problem uses one of the names, with equal probability")
    return tuple(sorted(names, key=SPECTRA.index))


Spectra = Annotated[tuple[Spectrum, ...], BeforeValidator(_split_names), AfterValidator(_in_order)]


_ALTERNATIVES = ({"dim"}, {"min_dim", "max_dim"}, {"rows", "cols"})  # mutually exclusive ways to set dimensions
DIMENSIONS = set[str]().union(*_ALTERNATIVES)


class MatrixSpec(ProblemSpec):
    """How matrices are sampled: m x n with independent entries, then rounded to 3 significant digits.

    ``min_dim..max_dim``: n is uniform in this range for each problem (rows and columns apart when ``rectangular``);
    ``dim`` sets both, is checked under its own name, and is null in a spec; ``rows``, ``cols``: fixed instead.
    ``entries``: ``uniform`` U(-c, c) or ``gaussian`` N(0, c^2/3), of equal variance. c is ``max_coeff``, or uniform among the
    integers ``min_coeff..max_coeff`` for each problem.
    ``spectrum``: of symmetric problems, see ``mathpipe.generate.sampling.spectra``; each problem samples one of them.
    ``task_tokens``: of co-training, the tasks of the problems (all seven, TADMEFI, if null).
    ``round_problems``: round before solving, so that the solution is exactly that of the stored problem (else as in the
    papers: solve first, round when writing). ``noise``: sigma > 0 stores A + (c_max sigma / sqrt 3) N(0, 1) with the
    solution of the clean A. Source: Charton 2022, sections 3 and 4.
    """

    dim: Annotated[Dimension | None, AfterValidator(lambda dim: None)] = Field(
        None, exclude=True, description="matrices are dim x dim"
    )
    min_dim: Dimension = Field(5, description="smallest dimension, with --max-dim; each problem samples one uniformly")
    max_dim: Dimension = Field(5, description="largest dimension")
    rectangular: bool = Field(False, description="sample the numbers of rows and columns independently")
    rows: Dimension | None = Field(None, description="fixed number of rows, with --cols")
    cols: Dimension | None = Field(None, description="fixed number of columns, with --rows")
    entries: Literal["uniform", "gaussian"] = Field(
        "uniform", description="distribution of the entries: U(-c, c) or N(0, c^2/3)"
    )
    max_coeff: Annotated[float, Field(gt=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        10.0, description="c, the largest coefficient"
    )
    min_coeff: Annotated[int, Field(ge=1)] | None = Field(
        None, description="sample c for each problem from the integers min_coeff..max_coeff"
    )
    spectrum: Spectra = Field(
        (),
        description="eigenvalue distributions of symmetric problems, such as laplace,semicircle  [default: semicircle]",
    )
    task_tokens: str | None = Field(
        None, description="co-training: the tasks to mix, by task token  [default: TADMEFI]"
    )
    round_problems: bool = Field(
        True, description="round problems to 3 digits before solving, so that solutions are exact"
    )
    noise: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Field(
        0.0,
        description="noise level sigma: noise of scale c sigma / sqrt(3) on the problem; the solution is that of the clean problem",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_set_dimensions(cls, values: Any) -> Any:
        """Write ``dim`` as min_dim = max_dim; ranges are 1..1 where rows and cols are fixed, so that equal specs are equal."""
        if not isinstance(values, dict):
            return values
        present = {name for name, value in values.items() if value is not None} & DIMENSIONS
        if values.get("rows") is not None and values.get("min_dim", 1) == values.get("max_dim", 1) == 1:
            present -= {"min_dim", "max_dim"}  # a stored spec
        if sum(bool(present & option) for option in _ALTERNATIVES) > 1:
            raise ValueError("give only one of dim, min_dim with max_dim, and rows with cols")
        if ("min_dim" in present) != ("max_dim" in present):
            raise ValueError("give both min_dim and max_dim")
        values = {name: value for name, value in values.items() if value is not None or name not in DIMENSIONS}
        if "dim" in present:
            values |= {"min_dim": values["dim"], "max_dim": values["dim"]}
        elif "rows" in present:
            values |= {"min_dim": 1, "max_dim": 1}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_dim > self.max_dim:
            raise ValueError(f"min_dim {self.min_dim} is above max_dim {self.max_dim}")
        if (self.rows is None) != (self.cols is None):
            raise ValueError("give rows and cols together or not at all")
        if self.rows is not None and self.rectangular:
            raise ValueError("rectangular samples rows and columns; it cannot be combined with fixed rows and cols")
        if self.min_coeff is not None and (self.max_coeff != int(self.max_coeff) or self.min_coeff > self.max_coeff):
            raise ValueError("with min_coeff, max_coeff must be an integer at least as large")
        return self

    @classmethod
    def merge(cls, options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """New dimensions replace all earlier ones."""
        if changes.keys() & DIMENSIONS:
            options = {name: value for name, value in options.items() if name not in DIMENSIONS}
        return {**options, **changes}

    def option_values(self) -> dict[str, Any]:
        """The value of each option; dimensions as ``dim`` if all matrices are dim x dim."""
        values = super().option_values()
        if self.rows is not None:
            hidden = {"dim", "min_dim", "max_dim"}
        elif self.min_dim == self.max_dim:
            values["dim"], hidden = self.min_dim, {"min_dim", "max_dim", "rows", "cols"}
        else:
            hidden = {"dim", "rows", "cols"}
        return {name: value for name, value in values.items() if name not in hidden}

    def describe(self, options: Collection[str]) -> str:
        """``5 x 5 matrices, entries uniform in -10 to 10, rounded to 3 significant digits before solving``."""
        parts = [self._describe_shape(), *([self._describe_entries()] if "max_coeff" in options else [])]
        if self.spectrum:
            parts.append(f"symmetric with eigenvalues of the distribution {' or '.join(self.spectrum)}")
        if self.task_tokens is not None:
            parts.append(f"tasks {', '.join(self.task_tokens)}")
        when = "before" if self.round_problems else "after"
        if "round_problems" in options:
            parts.append(f"rounded to 3 significant digits {when} solving")
        if self.noise:
            parts.append(f"noise of level {self.noise:g} on the problem, with the solution of the clean problem")
        return ", ".join(parts)

    def _describe_shape(self) -> str:
        if self.rows is not None:
            return f"{self.rows} x {self.cols} matrices"
        if self.min_dim == self.max_dim:
            return f"{self.max_dim} x {self.max_dim} matrices"
        sizes = f"{self.min_dim} to {self.max_dim}"
        return (
            f"matrices of {sizes} rows and {sizes} columns" if self.rectangular else f"n x n matrices, n from {sizes}"
        )

    def _describe_entries(self) -> str:
        c = f"{self.max_coeff:g}"
        if self.min_coeff is not None:
            scale = f"c from {self.min_coeff} to {c} for each problem"
            return (
                f"entries {'uniform in -c to c' if self.entries == 'uniform' else 'normal of variance c^2/3'}, {scale}"
            )
        return f"entries uniform in -{c} to {c}" if self.entries == "uniform" else f"entries normal of variance {c}^2/3"

    @property
    def largest_shape(self) -> tuple[int, int]:
        """The largest (rows, cols) of this spec."""
        if self.rows is not None and self.cols is not None:
            return self.rows, self.cols
        return self.max_dim, self.max_dim

    @property
    def always_square(self) -> bool:
        return not self.rectangular and self.rows == self.cols
