/* A request that waits as a coroutine, with a limit of its time and perhaps a second request linked behind it: who submits it, the file that completes it, who cancels it
 * by an entry or by a call, its limit, and the end of its process. Requests are of three kinds: a transfer of two bytes, which may be ended between them; one that does
 * nothing before its end (readiness), and is dropped; a call that cannot be ended (making a directory).
 *
 * Shown: each request, and the limit, has one completion. It says what happened: who has moved bytes never answers that it was cancelled, unless nobody is left to ask. The answer of who
 * cancels is true when it is given, and what has completed is found no more. When all is quiet, nobody waits for a request that was cancelled, whose process has ended, whose time is over or
 * whose file had what it waits for; but for a call that cannot be ended.
 *
 * The steps are those of base/ring's state.rs (`poll`, `cancel`, `abandon`, `tell`), coroutine.rs (`serve`, `wait_for`) and cancel.rs (`some`, `Cancel::wait`), one shared access each; the table and the file's
 * queue are one step each under their locks, and so is the wake of a task. Memory is sequentially consistent. The other way to wait, without a coroutine, is retry.pml.
 *
 * mutant LOOKS_BEFORE_ITS_TASK_IS_NOTED    the coroutine looks whether it is cancelled, and is only then to be found by who wakes
 * mutant HAS_NO_LAST_SAY                   told after it was polled, it is not polled once more
 * mutant DROPS_WHAT_HAS_MOVED              a transfer that is told is dropped, as what does nothing before its end is
 * mutant CANCELLATION_WINS                 it looks whether it is cancelled before it is polled
 * mutant LIMIT_DECIDES                     a time that is over ends what it limits, and does not cancel it
 * mutant CANCELS_WITHOUT_A_WAKE            who cancels wakes nobody
 * mutant WAKES_BEFORE_THE_MARK             who cancels wakes, and then says so
 * mutant DECIDES_AFTER_THE_COMPLETION      it can be found until its completion is posted
 * mutant TELLS_BEFORE_THE_COMPLETION       who cancels has the answer before the completion is posted
 * mutant NEVER_SAYS_THAT_IT_GOES_ON        who cancels waits for the end of a call that cannot be ended
 * mutant LINKS_WITHOUT_A_LOOK              what is linked begins, and does not look whether its process has ended
 * mutant SCANS_BEFORE_IT_IS_GONE           the process ends what it finds, and is gone after that
 */
#define TRANSFER 0
#define READINESS 1
#define DEAF 2

/* What becomes of it, as told. */
#define RUNS 0
#define GOES_ON 1
#define COMPLETED 2    /* who cancels answers EALREADY, as for the one before */
#define GIVEN_UP 3     /* 0 */

/* What a poll answers, and a completion. */
#define PENDING 0
#define DONE 1
#define CANCELLED 2
#define EINTR 3

#define WANTED 2    /* bytes of a transfer */

byte kind                /* of the first; the second waits for what never comes */

byte bytes               /* in the file */
byte written
bool armed               /* the coroutine is in the file's queue */

bool spawned
bool noted               /* its task is where who cancels finds it */
bool woken               /* it is to be polled */

bool listed[2]
bool cancelled[2]
bool abandoned[2]
bool decided[2]
byte outcome[2]
byte completions[2]
byte result[2]
byte moved               /* by the first */

bool due                 /* the first's time is over */
byte limit_completions   /* of what limits it */

bool gone                /* the process */
bool ended               /* it is through with what it has found */

/* By who has it in its hands: nobody waits for it with a spin. */
inline wake() {
    atomic {
        if
        :: noted -> woken = true
        :: else
        fi
    }
}

inline cancel(i) {
#ifdef WAKES_BEFORE_THE_MARK
    wake();
    cancelled[i] = true
#else
    cancelled[i] = true;
#ifndef CANCELS_WITHOUT_A_WAKE
    wake()
#endif
#endif
}

/* The first attempt at what it waits for, or one more; with `waits` it leaves its waker. */
inline poll(i, waits, answer) {
    answer = PENDING;
    do
    :: i == 1 ->
        if
        :: cancelled[i] && kind == TRANSFER -> answer = EINTR
        :: else
        fi;
        break
    :: i == 0 && kind == READINESS ->
        if
        :: bytes > 0 -> answer = DONE; break
        :: else
        fi;
        if
        :: !waits || armed -> break
        :: else -> armed = true
        fi
    :: i == 0 && kind != READINESS ->
        if
        :: atomic { bytes > 0 -> bytes--; moved++ };
            if
            :: kind == DEAF || moved == WANTED -> answer = DONE; break
            :: else
            fi
        :: atomic { bytes == 0 && (!waits || armed) ->
                /* The call asks where a signal would end it. */
                if
                :: waits && kind == TRANSFER && cancelled[i] -> answer = (moved > 0 -> DONE : EINTR)
                :: else
                fi
            };
            break
        /* It looks again behind that. */
        :: atomic { bytes == 0 && waits && !armed -> armed = true }
        fi
    od
}

/* `wait_for`: the coroutine until its request `i` has ended. */
inline wait_for(i, was_told, answer) {
end_wait:
    do
    :: atomic { woken -> woken = false };
        was_told = cancelled[i];
#ifdef LOOKS_BEFORE_ITS_TASK_IS_NOTED
        noted = true;
#endif
        if
        :: was_told && abandoned[i] -> answer = CANCELLED; break
        :: else
        fi;
#ifdef CANCELLATION_WINS
        if
        :: was_told && kind != DEAF -> answer = CANCELLED; break
        :: else
        fi;
#endif
        poll(i, true, answer);
        if
        :: answer != PENDING -> break
        :: else
        fi;
        if
        :: i == 0 && due ->
#ifdef LIMIT_DECIDES
            answer = CANCELLED;
            break
#else
            cancelled[i] = true
#endif
        :: else
        fi;
#ifdef LOOKS_BEFORE_ITS_TASK_IS_NOTED
        if
        :: was_told
#else
        if
        :: cancelled[i]
#endif
            ->
#if !defined HAS_NO_LAST_SAY && !defined DROPS_WHAT_HAS_MOVED
            if
            :: !was_told -> poll(i, true, answer)
            :: else
            fi;
#endif
            if
            :: answer != PENDING -> break
#ifdef DROPS_WHAT_HAS_MOVED
            :: answer == PENDING && kind != DEAF -> answer = CANCELLED; break
#else
            :: answer == PENDING && kind == READINESS -> answer = CANCELLED; break
#endif
            :: else
            fi;
#ifndef NEVER_SAYS_THAT_IT_GOES_ON
            outcome[i] = GOES_ON
#endif
        :: else
        fi;
        was_told = false
    od;
    if
    :: answer == EINTR -> assert(cancelled[i]); answer = CANCELLED
    :: else
    fi
}

inline tell(i, answer) {
    outcome[i] = (answer == CANCELLED -> GIVEN_UP : COMPLETED)
}

/* `Ticket::complete`. */
inline complete(i, answer) {
    atomic {
        completions[i]++;
        assert(completions[i] == 1);
        result[i] = answer;
        assert(answer != CANCELLED || i == 1 || moved == 0 || abandoned[i])
    }
}

inline end(i, answer) {
#ifdef TELLS_BEFORE_THE_COMPLETION
    tell(i, answer);
#endif
#ifdef DECIDES_AFTER_THE_COMPLETION
    complete(i, answer);
    decided[i] = true;
#else
    decided[i] = true;
    complete(i, answer);
#endif
#ifndef TELLS_BEFORE_THE_COMPLETION
    tell(i, answer);
#endif
    if
    :: i == 0 ->
        /* `Limit::end`: not fired ECANCELED, else ETIME or EALREADY. */
        atomic { limit_completions++; assert(limit_completions == 1) }
    :: else
    fi
}

/* Who submits, and the coroutine that takes over. */
active proctype request() {
    byte i, answer;
    bool was_told;
    atomic {
        if
        :: kind = TRANSFER
        :: kind = READINESS
        :: kind = DEAF
        fi
    };
    /* In the submitter's own poll, without a waker. */
    poll(0, false, answer);
    if
    :: answer == DONE -> complete(0, answer);
        /* It was never listed, and its limit never began: that is completed with it. */
        limit_completions++;
        goto over
    :: else
    fi;
    listed[0] = true;
    woken = true;
#ifndef LOOKS_BEFORE_ITS_TASK_IS_NOTED
    noted = true;
#endif
    spawned = true;
next:
    wait_for(i, was_told, answer);
    end(i, answer);
    /* `follow`: a hard link, unless nobody wants it. The old one goes after the new one is there. */
    if
    :: i == 0 && !abandoned[0] ->
        listed[1] = true;
        woken = true;
#ifndef LINKS_WITHOUT_A_LOOK
        if
        :: gone -> abandoned[1] = true; cancelled[1] = true
        :: else
        fi;
#endif
        listed[0] = false;
        i = 1;
        goto next
    :: listed[i] = false     /* Or nothing is linked. */
    fi;
over:
    skip
}

active proctype file() {
    do
    :: atomic { written < WANTED -> bytes++; written++ };
        atomic {
            if
            :: armed -> armed = false; woken = true
            :: else
            fi
        }
    :: break     /* No more comes. */
    od
}

active proctype clock() {
    if
    :: atomic { spawned -> due = true };
        woken = true
    :: true
    fi
}

/* Finds the first, under the table's lock: what is found has no completion yet, so its `user_data` is not another's. */
inline find(found) {
    atomic {
        found = listed[0] && !decided[0];
        assert(!found || completions[0] == 0)
    }
}

/* `Cancel::wait`. Its answer is what it sees, none is ENOENT. */
inline answer_of(found, seen) {
    if
    :: found ->
        cancel(0);
end_told:
        atomic {
            outcome[0] != RUNS && !(to_its_end && outcome[0] == GOES_ON) -> seen = outcome[0];
            assert(seen == GOES_ON || completions[0] == 1);
            assert(seen != GIVEN_UP || result[0] == CANCELLED);
            assert(seen != COMPLETED || result[0] == DONE);
            seen = 0
        }
    :: else
    fi
}

byte asked
bool to_its_end          /* by a call, which waits for the end; else by an entry */
active proctype canceller() {
    bool found;
    byte seen;
    if
    :: atomic { spawned -> asked = 1;
            if
            :: to_its_end = true
            :: to_its_end = false
            fi
        };
        find(found);
        answer_of(found, seen);
        asked = 2
    :: true
    fi
}

inline abandon(i) {
    if
    :: listed[i] ->
        abandoned[i] = true;
        cancel(i)
    :: else
    fi
}

/* The end of the process, or of the ring. */
active proctype exit() {
    if
    :: spawned ->
#ifndef SCANS_BEFORE_IT_IS_GONE
        gone = true;
#endif
        abandon(0);
        abandon(1);
#ifdef SCANS_BEFORE_IT_IS_GONE
        gone = true;
#endif
        ended = true
    :: true
    fi
}

#define ENDS(i) (!listed[i] && completions[i] == 1 || i == 1 && completions[i] == 0 && !listed[i])

/* When nobody can go on. */
active proctype quiet() {
    timeout;
    assert(!ended || ENDS(0) && ENDS(1));
    assert(!cancelled[0] || kind == DEAF || ENDS(0));
    assert(!due || kind == DEAF || ENDS(0));
    assert(bytes == 0 || completions[0] == 1);
    assert(completions[0] == 0 || limit_completions == 1);
    assert(asked != 1 || to_its_end && kind == DEAF && completions[0] == 0)
}
