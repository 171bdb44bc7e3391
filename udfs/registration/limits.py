"""What the search goes through and what it refuses, on the processor and on a device alike."""

from __future__ import annotations

FLAT = 0.02  # with a smaller share of pixels that have contrast, there is nothing to register
HOPELESS = 0.35  # the correlation at half size with which a pair is refused without further work
STARTS = 5  # transforms of the grid that are refined
FIRST_STEPS = 4  # Gauss–Newton steps from each of these; the best two go on
HOPELESS_FIRST = 0.25  # the highest correlation after these with which a pair is refused
HALF_STEPS = 8  # further steps at half size, at most
STEPS = 16  # steps at full size, at most
LEAST_OVERLAP = 0.25  # of the first picture, at every step
# By how much less two pictures may overlap after the steps at half size than at the end. A pair of
# which a rule needs an overlap is given up there if it overlaps by less than that less this margin.
OVERLAP_MARGIN = 0.1
LARGEST_SCALE, LARGEST_ROTATION = 1.45, 16.0  # of a transform that is accepted; degrees
UNPROVED = 0.35  # a registration with which no pair is proved, whatever the settings
LARGEST_STEP = 1.6  # the scale that a transform may have on the way
