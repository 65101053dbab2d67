/* A time that is waited for, once or again and again: its coroutine, the clock, who removes it or changes it by an entry, and who cancels it.
 *
 * Shown: it has one last completion. Who was told that it is removed sees it cancelled, and hears of no more than the one time before that which was on its way; who was told that it is over already sees that. What was changed comes to its end at
 * the time that holds by then. When all is quiet none waits whose time is over, who was told to end has ended, and who cancels has an answer that is true.
 *
 * The steps are those of timeout.rs (`Timeout::wait`, `Sleeper::poll`, `Timer::expire`, `Change::run`), of base/ring's state.rs (`poll`), and of cancel.rs (`Cancel::wait`); what happens under the timer's lock is one. Memory is
 * sequentially consistent. Other requests are cancel.pml.
 *
 * mutant EXPIRES_WITHOUT_A_LOOK    the time is over, and it is not looked whether it was removed meanwhile
 * mutant EXPIRES_AT_AN_OLD_TIME    nor whether it was changed
 * mutant ENDS_WITHOUT_A_LOOK       one that repeats finds no room, and ends though it was removed meanwhile
 * mutant ENDS_THOUGH_CHANGED      nor is it looked whether it was changed meanwhile
 * mutant REMOVES_WITHOUT_A_MARK    who removes cancels, and does not say so to the timer
 * mutant REMOVES_WHAT_IS_OVER      who removes does not look whether it is over
 * mutant REMOVES_WITHOUT_A_CALL    who removes says so to the timer, and cancels nothing
 * mutant CHANGES_WHAT_IS_OVER      who changes does not look whether it is over
 * mutant CHANGES_WITHOUT_A_CALL    who changes wakes nobody
 */
#define NEVER 3          /* The clock ends before it. */

#define NONE 0
#define TIME 1
#define CANCELLED 2

/* Answers. */
#define DONE 1
#define IS_OVER 2        /* EALREADY */
#define NOT_FOUND 3      /* ENOENT */

byte now
byte deadline = 1
byte repeats = 1         /* how often it comes yet */
bool is_over
bool cancelled
bool decided             /* it cannot be found */
byte outcome

byte sleeps_until = NEVER
bool woken = true
byte completions, result
byte room                /* for completions that are not the last */
byte told                /* such ones */

byte removed, changed, stopped
byte changes
bool owed                /* changed, and not at its end since */
byte told_before         /* when it was removed */

inline cancel() {
    cancelled = true;
    woken = true
}

#ifdef EXPIRES_WITHOUT_A_LOOK
#define STANDS true
#else
#define STANDS (!is_over)
#endif

#ifdef ENDS_THOUGH_CHANGED
#define ENDS true
#else
#define ENDS (changes == seen)
#endif

/* `Sleeper::poll`, then what is made of it: ended, or not. */
inline poll(until, ended) {
    ended = false;
    if
    :: atomic { is_over }
    :: atomic { !is_over -> until = deadline };
        if
        :: atomic { now < until -> sleeps_until = until }
        :: atomic { now >= until -> sleeps_until = NEVER };
            if
#ifndef EXPIRES_WITHOUT_A_LOOK
            :: atomic { is_over }
#endif
#ifndef EXPIRES_AT_AN_OLD_TIME
            :: atomic { !is_over && deadline != until -> woken = true }
            :: atomic { STANDS && deadline == until && repeats == 1 ->
#else
            :: atomic { STANDS && repeats == 1 ->
#endif
                    assert(changed != DONE || now >= deadline);
                    is_over = true
                };
                ended = true
            :: atomic { STANDS && deadline == until && repeats > 1 ->
                    repeats--;
                    owed = false;
                    seen = changes;
                    deadline = now + 1
                };
                /* `post_more`. */
                if
                :: atomic { room > 0 -> room--; told++; assert(removed != DONE || told <= told_before + 1) };
                    woken = true
                :: atomic { room == 0 };
                    if
#ifndef ENDS_THOUGH_CHANGED
                    :: atomic { changes != seen -> woken = true }
#endif
#ifndef ENDS_WITHOUT_A_LOOK
                    :: atomic { is_over }
                    :: atomic { !is_over && ENDS ->
#else
                    :: atomic { ENDS ->
#endif
                            assert(!owed);
                            is_over = true
                        };
                        ended = true
                    fi
                fi
            fi
        fi
    fi
}

inline end(how) {
    decided = true;
    atomic { completions++; assert(completions == 1); result = how };
    outcome = how
}

active proctype request() {
    byte until, seen;
    bool was_told, ended;
    atomic {
        if
        :: repeats = 1
        :: repeats = 3; room = 1
        fi
    };
end_wait:
    do
    :: atomic { woken -> woken = false };
        was_told = cancelled;
        poll(until, ended);
        if
        :: ended -> end(TIME); break
        :: else
        fi;
        if
        :: cancelled ->
            if
            :: !was_told -> poll(until, ended)
            :: else
            fi;
            if
            :: ended -> end(TIME)
            :: else -> end(CANCELLED)
            fi;
            break
        :: else
        fi
    od
}

active proctype clock() {
    do
    :: atomic { now < NEVER - 1 -> now++ };
        atomic {
            if
            :: sleeps_until <= now -> sleeps_until = NEVER; woken = true
            :: else
            fi
        }
    :: atomic { now == NEVER - 1 && sleeps_until > now -> break }
    od
}

/* `Change::run`, once in either way. */
active proctype remover() {
    bool found;
    if
    :: atomic { found = !decided };
        if
        :: !found -> removed = NOT_FOUND
#ifndef REMOVES_WHAT_IS_OVER
        :: atomic { found && is_over -> removed = IS_OVER }
        :: atomic { found && !is_over ->
#else
        :: atomic { found ->
#endif
#ifndef REMOVES_WITHOUT_A_MARK
                is_over = true;
#endif
                told_before = told;
                removed = DONE
            };
#ifndef REMOVES_WITHOUT_A_CALL
            cancel()
#endif
        fi
    :: true
    fi
}

active proctype changer() {
    bool found;
    if
    :: atomic { found = !decided };
        if
        :: !found -> changed = NOT_FOUND
#ifndef CHANGES_WHAT_IS_OVER
        :: atomic { found && is_over -> changed = IS_OVER }
        :: atomic { found && !is_over ->
#else
        :: atomic { found ->
#endif
                assert(completions == 0 || changed != DONE);
                assert(!is_over);
                changed = DONE;
                changes++;
                owed = true;
                if
                :: deadline = 0
                :: deadline = 2
                fi
            };
#ifndef CHANGES_WITHOUT_A_CALL
            woken = true
#endif
        fi
    :: true
    fi
}

active proctype canceller() {
    if
    :: atomic { !decided };
        stopped = DONE;
        cancel();
end_told:
        atomic { outcome != NONE -> assert(outcome == result && completions == 1); stopped = 0 }
    :: true
    fi
}

/* When nobody can go on. */
active proctype quiet() {
    timeout;
    assert(completions == 1 || !cancelled && !is_over && deadline > now);
    assert(removed != DONE || result == CANCELLED);
    assert(removed != IS_OVER || result == TIME);
    assert(stopped == 0)
}
