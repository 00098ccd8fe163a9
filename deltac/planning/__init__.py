"""Spec × sites × operators → plan, with one file per semantic check."""

from deltac.planning.build import make_plan
from deltac.planning.plan import Counts, HeadParameter, Matched, Placement, Plan

__all__ = ["Counts", "HeadParameter", "Matched", "Placement", "Plan", "make_plan"]
