/* A receiver of backend `nuintc` that goes to sleep while somebody sends (note 0008, section 8; kernel/process/src/uintr/connected.rs).
 *
 * Shown: when all is quiet, nothing lies in the word of a thread that sleeps without having been told, and no device is raised that was not served; and nothing is
 * taken that was not sent.
 *
 * A doorbell reaches who listens; what is rung at one that does not is heard when it listens again. What either side stores lies in a buffer, until a fence or by itself at any time
 * before, and the other side does not see it there. The thread runs for as long as it likes, and leaves its rest when it is told, or by itself (its slice, its time or its wait is over).
 * A device tells the kernel, which keeps its line off until it was served, and leaves nothing in a word. The thread may keep its interrupts off when it comes to user mode: what it
 * was told there waits for it, and it may rest again before it lets that in.
 * Not here: several senders, the granting to one while the receiver sleeps, the timer.
 *
 * mutant SENDER_HAS_NO_FENCE     who sends looks whether the receiver sleeps while the bit may not be seen yet
 * mutant KERNEL_HAS_NO_FENCE     the kernel looks at the word while it may not be seen yet that the receiver sleeps
 * mutant LOOKS_FIRST             the kernel looks at the word, and says then that the receiver sleeps
 * mutant CALL_SETS_THE_BIT       the call of who finds the receiver asleep sends once more
 * mutant FORGETS_BEHIND          on the way to user mode it is looked whether the thread was told, and what was told is forgotten behind that
 * mutant FORGETS_WHAT_WAITS      the kernel looks at the word alone before the thread rests
 */
bool word, word_buffered
bool asleep, asleep_buffered, asleep_next
bool told                   /* has the thread look: it runs, or will */
bool rung                   /* at the controller, and not heard */
bool waits                  /* it was told to look, on its way to user mode, and has not looked yet */
bool raised, kept_off       /* a device's line */
byte sent, taken, alone, raises

active proctype Buffers() {
end:
    do
    :: atomic { word_buffered -> word = true; word_buffered = false }
    :: atomic { asleep_buffered -> asleep = asleep_next; asleep_buffered = false }
    od
}

active proctype Sender() {
    do
    :: sent < 2 ->
       atomic { sent++; word_buffered = true };
#ifndef SENDER_HAS_NO_FENCE
       !word_buffered;
#endif
       if
       :: atomic { asleep ->
#ifdef CALL_SETS_THE_BIT
          word = true;
#endif
          told = true }
       :: atomic { !asleep -> rung = true }
       fi
    :: else -> break
    od
}

active proctype Device() {
    do
    :: raises < 2 -> atomic { !raised -> raises++; raised = true }
    :: else -> break
    od
}

active proctype Kernel() {
end:
    do
    :: atomic { raised && !kept_off -> kept_off = true; told = true }
    od
}

/* The handler, which finds out of the device whether it is raised. */
inline take() {
    atomic { if :: word -> word = false; taken++; assert(taken <= sent) :: else fi };
    raised = false;
    kept_off = false
}

active proctype Receiver() {
    bool nothing, look;
end:
    do
    :: true ->
       /* It runs, and listens. */
end_runs:
       atomic { told || rung || waits -> told = false; rung = false; waits = false };
       take()
    :: true ->
       /* It rests: nobody listens for it. */
#ifdef LOOKS_FIRST
       nothing = !word;
#endif
       atomic { asleep_next = true; asleep_buffered = true };
#ifndef KERNEL_HAS_NO_FENCE
       !asleep_buffered;
#endif
#ifndef LOOKS_FIRST
       nothing = !word;
#endif
#ifndef FORGETS_WHAT_WAITS
       nothing = nothing && !waits;
#endif
       if
       :: !nothing -> told = true
       :: nothing ->
end_asleep:
          if
          :: told
          :: alone < 2 -> alone++
          fi
       fi;
       /* On its way to user mode. */
#ifdef FORGETS_BEHIND
       look = told;
       told = false;
#else
       atomic { look = told; told = false };
#endif
       atomic { asleep_next = false; asleep_buffered = true };
       if
       :: look -> waits = true
       :: else
       fi;
       /* It lets interrupts in, or goes to rest again before it does. */
       if
       :: atomic { waits -> waits = false }; take()
       :: true
       fi
    od
}

/* When nothing moves any more, nothing is left. */
active proctype Quiet() {
    timeout -> assert(!word && !raised)
}
