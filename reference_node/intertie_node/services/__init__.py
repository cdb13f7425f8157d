"""The engine and the services around it: they turn what happens into steps, and effects into acts."""
