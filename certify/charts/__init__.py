"""Charts as SVG: windows over time, intervals, steps from one value to the next, a cloud of points; pure functions."""
