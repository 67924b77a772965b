"""The agents of synthesis and the engines behind them: plain async classes, hosted as Ray actors in `actors.synthesis`."""
