"""Figures of arrays: pure functions that return matplotlib figures, without pyplot and its global state."""

from aejax.plots.classes import CLASS_COLOURS as CLASS_COLOURS
from aejax.plots.classes import class_colours as class_colours
from aejax.plots.classes import class_name as class_name
from aejax.plots.curves import labelled_points as labelled_points
from aejax.plots.curves import learning_curves as learning_curves
from aejax.plots.curves import lines as lines
from aejax.plots.curves import sorted_values as sorted_values
from aejax.plots.latents import density as density
from aejax.plots.latents import planes as planes
from aejax.plots.latents import scatter as scatter
from aejax.plots.pictures import image_grid as image_grid
from aejax.plots.pictures import mosaic as mosaic
from aejax.plots.pictures import tile as tile
from aejax.plots.style import DPI as DPI
from aejax.plots.style import LABELS as LABELS
from aejax.plots.style import SPLITS as SPLITS
from aejax.plots.style import captioned as captioned
from aejax.plots.style import new_figure as new_figure
from aejax.plots.style import printable as printable
from aejax.plots.style import save as save
from aejax.plots.style import styled as styled
