"""Charts as SVG: windows over time, intervals, waterfalls, the Pareto plot; pure functions."""
