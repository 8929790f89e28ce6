/** Calls `run` when `deadline()` has come. Call {@link Timer.arm} after every change. */
export class Timer {
  private id: number | undefined;

  constructor(
    private readonly deadline: () => number | null,
    private readonly run: (now: number) => void,
  ) {}

  /** Sets the timer to the present deadline. */
  arm(): void {
    window.clearTimeout(this.id);
    this.id = undefined;
    const at = this.deadline();
    if (at === null) return;
    this.id = window.setTimeout(() => {
      this.run(performance.now());
      this.arm();
    }, Math.max(0, Math.ceil(at - performance.now())));
  }
}
