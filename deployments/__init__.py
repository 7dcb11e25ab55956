"""When it runs: schedules, events, webhooks."""
