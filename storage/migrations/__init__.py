"""The schema's history, run by `reflock db upgrade`."""
