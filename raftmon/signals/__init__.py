"""Floor 3: series become readings. A statistic sees each point once, in the order of arrival, and knows no rule."""
