"""Normalizing flows as families: one file per layer."""

from vaejax.families.flows.coupling import coupling_flow, spline_flow
from vaejax.families.flows.flow import FlowParams
from vaejax.families.flows.householder import householder_flow
from vaejax.families.flows.iaf import iaf
from vaejax.families.flows.planar import planar_flow
from vaejax.families.flows.radial import radial_flow
from vaejax.families.flows.sylvester import sylvester_flow

__all__ = [
    "FlowParams",
    "coupling_flow",
    "householder_flow",
    "iaf",
    "planar_flow",
    "radial_flow",
    "spline_flow",
    "sylvester_flow",
]
