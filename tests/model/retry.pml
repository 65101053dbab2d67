/* A request of a ring that waits for a file without a coroutine: who submits it, a byte that comes, who cancels it, who changes what it waits for, the ring's service coroutine, the hart that serves where
 * it is woken (`process::prompt`), and a thread that serves while it waits for completions.
 *
 * Shown: one party at a time tries; the request is completed once, and in the list once at most, never after its end; the byte is taken by the request or is left. When all
 * is quiet, no byte lies in the file beside a request that waits for it, and who cancels has its answer.
 *
 * The steps are those of retry.rs (`begin`, `make_ready`, `serve`, `change_poll`, `wait`, `end`, `push`), one shared access each; entering and leaving the file's queue is one step
 * each under its lock (base/sync's wait.rs: loom's to show), and so is each try, under the file's. Memory is sequentially consistent.
 *
 * mutant ARMS_AFTER_THE_LAST_TRY      it is tried before it is in the queue, and not afterwards
 * mutant FORGETS_WHAT_CAME_MEANWHILE  who has served does not look whether it has become ready meanwhile
 * mutant SERVES_WITHOUT_A_MARK        who serves does not say that it does
 * mutant CANCELS_WITHOUT_A_CALL       who cancels makes nothing ready
 * mutant PUSHES_WITHOUT_A_CALL        what gets into the list wakes nobody
 * mutant IS_FREE_AFTER_ITS_END        the mark goes at the end, and what comes late makes it ready once more
 * mutant CHANGES_WHAT_IS_SERVED       who changes it does not ask whether somebody serves it
 * mutant IS_IN_BOTH_LISTS             what is left to the hart is left to the ring, too
 * mutant ENDS_WITHOUT_LEAVING         it stays in the file's queue when it has ended, and takes the wake-up of others
 */
#define READY 1
#define BUSY 2

#define NONE 0
#define DONE 1
#define CANCELLED 2

bool byte_there      /* in the file */
bool armed           /* it is in the file's queue */
byte state = BUSY    /* READY, BUSY */
bool listed          /* it is in the ring's list */
bool prompt          /* it is in the hart's */
bool woken           /* the service coroutine is to look */
bool found           /* it stands in the table of those that can be cancelled */
bool cancelled
byte outcome         /* told to who cancels */
byte completions
byte trying
bool written

/* The first that gets into an empty list wakes the coroutine; of one request, each is. */
inline push_to_ring() {
    atomic {
        assert(!listed && !prompt && completions == 0);
        listed = true;
#ifndef PUSHES_WITHOUT_A_CALL
        woken = true
#endif
    }
}

/* Whether it is left to the hart depends on who waits, and on how many are: it may be either. */
inline push() {
    if
    :: push_to_ring()
    :: atomic {
            assert(!listed && !prompt && completions == 0);
            prompt = true;
#ifdef IS_IN_BOTH_LISTS
            listed = true;
            woken = true
#endif
        }
    fi
}

inline make_ready(old) {
    atomic { old = state; state = state | READY };
    if
    :: old == 0 -> push()
    :: else
    fi
}

inline finish(how) {
    /* `decide`, then the completion. */
    atomic { completions++; assert(completions == 1) };
#ifndef ENDS_WITHOUT_LEAVING
    armed = false;
#endif
#ifdef IS_FREE_AFTER_ITS_END
    state = 0;
#endif
    outcome = how;
    found = false
}

/* `ended`: with this try. */
inline try(ended) {
    atomic { assert(trying == 0); trying++ };
    if
    :: atomic { byte_there -> byte_there = false; ended = true }
    :: atomic { !byte_there -> ended = false }
    fi;
    trying--;
    if
    :: ended -> finish(DONE)
    :: else
    fi
}

inline wait(old, ended) {
#ifndef ARMS_AFTER_THE_LAST_TRY
    armed = true;
#endif
    try(ended);
#ifdef ARMS_AFTER_THE_LAST_TRY
    if
    :: !ended -> armed = true
    :: else
    fi;
#endif
    if
    :: ended
    :: !ended && cancelled -> finish(CANCELLED)
    :: !ended && !cancelled ->
#ifdef FORGETS_WHAT_CAME_MEANWHILE
        state = 0
#else
        atomic { old = state; state = state & READY };
        if
        :: (old & READY) -> push()
        :: else
        fi
#endif
    fi
}

inline serve(old, ended) {
#ifdef SERVES_WITHOUT_A_MARK
    state = 0;
#else
    state = BUSY;
#endif
    if
    :: completions > 0      /* a wake-up after its end */
    :: else ->
        if
        :: try(ended)
        :: ended = false    /* What reads again and again is in the queue first. */
        fi;
        if
        :: !ended -> wait(old, ended)
        :: else
        fi
    fi
}

/* Takes it out of the list. */
#define POP atomic { listed -> listed = false }

active proctype submitter() {
    byte old;
    bool ended;
    found = true;
    wait(old, ended)
}

active proctype writer() {
    byte old;
    bool called;
    if
    :: byte_there = true;
        written = true;
        /* `wake_all`: takes it out, and calls its waker then. */
        if
        :: atomic { armed -> armed = false; called = true }
        :: atomic { !armed -> called = false }
        fi
    :: true     /* It never comes. */
    fi;
    if
    :: called -> make_ready(old)
    :: else
    fi
}

active proctype canceller() {
    byte old;
    if
    :: atomic { found && outcome == NONE } ->
        cancelled = true;
#ifndef CANCELS_WITHOUT_A_CALL
        make_ready(old);
#endif
        outcome != NONE
    :: true
    fi
}

/* What is being told, or about to be, is not changed. */
active proctype changer() {
    byte old;
    bool ended;
    if
#ifdef CHANGES_WHAT_IS_SERVED
    :: atomic { found -> state = BUSY };
#else
    :: atomic { found && state == 0 -> state = BUSY };
#endif
        wait(old, ended)
    :: true
    fi
}

/* The hart that it is left to. What is to end is for the ring. */
active proctype hart() {
    byte old;
    bool ended;
end_hart:
    do
    :: atomic { prompt -> prompt = false };
        if
        :: cancelled -> push_to_ring()
        :: true -> serve(old, ended)
        fi
    od
}

/* The service coroutine. */
active proctype server() {
    byte old;
    bool ended;
end_all:
    do
    :: atomic { woken -> woken = false };
        do
        :: POP; serve(old, ended)
        :: atomic { !listed -> break }
        od
    od
}

/* A thread that waits for completions. It may come at any time, or never. */
active proctype enterer() {
    byte old;
    bool ended;
    if
    :: POP; serve(old, ended)
    :: true
    fi
}

/* When nobody can go on. */
active proctype quiet() {
    timeout;
    assert(trying == 0 && !listed && !prompt);
    assert(!(byte_there && completions == 0));
    assert(outcome != DONE || (written && !byte_there));
    assert(outcome != CANCELLED || byte_there == written);
    assert(completions == 0 || !armed);
    assert(!cancelled || outcome != NONE)
}
