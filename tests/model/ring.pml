/* A ring: a program that submits and takes completions, a second thread that calls, the ring's coroutine where it is polled, and who completes what waits. Two entries, two completions,
 * two places for what is outstanding; four requests, so each runs over. In one half of the states the ring's coroutine takes entries (SQPOLL), in the other those who call, who must have the right to.
 *
 * Shown: each request is taken once, and has one completion; the program sees completions once each, in the order in which they were posted, whatever was kept meanwhile; of a ring that is
 * polled never more than places of entries are free again. What is kept has a place. When all is quiet the program has all of them, and nobody sleeps who has what it waits for.
 *
 * The steps are those of base/ring (submit.rs, complete.rs), ring.rs (`post`, `flush`), taking.rs (`begin_taking`, `claim`, `give_back`), enter.rs (`wait`, `reach`) and polled.rs (`look`, `take`, `park`,
 * `call`). What happens under the lock of completions is one step: it looks at the program's head once, and shows the tail once. Who wakes does so with that: later it would find no fewer in the
 * queue. Elsewhere a step has one access to a word that both sides use. Queues of who waits are one step each under their locks (base/sync's wait.rs: loom's to show, as the orderings of the words
 * are). Of what is kept one moves at a time. Who serves requests that are ready is retry.pml.
 *
 * mutant PARKS_WITHOUT_A_LOOK        the ring's coroutine sets the flag and sleeps
 * mutant LOOKS_BEFORE_THE_FLAG       it looks once more, and sets the flag behind that
 * mutant SEES_AN_OLD_FLAG            the program looks at the flag before it shows what it has added
 * mutant CALLS_BEFORE_THE_MARK       who calls wakes the coroutine, and says then that it is called
 * mutant PARKS_FOR_GOOD              the coroutine looks at the mark before it is in the queue
 * mutant SLEEPS_ON_AN_OLD_LOOK       who waits for completions looks, and is in the queue behind that
 * mutant WAKES_BEFORE_THE_TAIL       who posts wakes, and shows the completion then
 * mutant WAITS_FOR_MORE_THAN_FITS    a wait is for more completions than the ring has places
 * mutant PASSES_WHAT_IS_KEPT         a completion goes into the ring, and older ones are kept
 * mutant FILLS_WHAT_IS_NOT_READ      it goes where the program has not taken one yet
 * mutant KEEPS_WITHOUT_A_FLAG        the program is not told that some are kept
 * mutant CLEARS_THE_FLAG_TOO_SOON    nor that more are, when one was moved
 * mutant FLUSHES_WITHOUT_A_LOCK      two move the same
 * mutant TAKES_WITHOUT_A_PLACE       an entry is taken, and nothing is reserved for its completion
 * mutant GIVES_BACK_BEFORE_THE_COPY  the program may reuse an entry before it was copied
 * mutant POSTS_BEFORE_THE_HEAD       a polled ring shows a completion before the place of its entry is free
 * mutant TAKES_WITHOUT_THE_RIGHT     two take entries at once
 * mutant LEAVES_WITHOUT_A_WAKE       who gives the right back wakes nobody
 */
#define REQUESTS 4
#define ENTRIES 2
#define COMPLETIONS 2
#define PLACES 2

#define PROGRAM 0
#define OTHER 1

bool polled, is_made

/* The shared words and what they guard. Indices do not wrap here. */
byte entry[ENTRIES]
byte sq_tail, sq_head
byte completion[COMPLETIONS]
byte cq_tail, cq_head
bool need_wakeup, overflow

/* The kernel's. */
byte head, tail
byte reserved
byte kept[PLACES]
byte keeps
bool is_taking
byte wanting

/* What waits. */
byte begun

/* Queues: who is in, who was woken. */
bool waits[2], woken[2], asleep[2]
bool claims[2], turn[2]
bool parks, roused, called
byte target[2]

/* To look at. */
byte posted              /* completions are numbers, in the order in which they are posted */
byte added, reaped       /* by the program */

inline wake_all() {
    d_step {
        woken[0] = woken[0] || waits[0];
        woken[1] = woken[1] || waits[1];
        waits[0] = false;
        waits[1] = false
    }
}

/* Into the ring: seen when the tail is shown. */
#define PUT(number) completion[tail % COMPLETIONS] = number; tail++

#ifdef FILLS_WHAT_IS_NOT_READ
#define HAS_ROOM true
#else
#define HAS_ROOM (tail - cq_head < COMPLETIONS)
#endif

/* `Ring::post`, of one that has a place. */
inline post() {
#ifdef WAKES_BEFORE_THE_TAIL
    wake_all();
#endif
    atomic {
        posted++;
        reserved--;
        if
#ifdef PASSES_WHAT_IS_KEPT
        :: HAS_ROOM ->
#else
        :: keeps == 0 && HAS_ROOM ->
#endif
            PUT(posted)
        :: else ->
            assert(keeps < PLACES);
            kept[keeps] = posted;
            keeps++;
#ifndef KEEPS_WITHOUT_A_FLAG
            overflow = true
#endif
        fi;
        cq_tail = tail;
#ifndef WAKES_BEFORE_THE_TAIL
        wake_all()
#endif
    }
}

#define CAN_FLUSH (keeps > 0 && tail - cq_head < COMPLETIONS)

/* `Ring::flush_all`. */
inline flush_all(first) {
    do
    :: atomic { !CAN_FLUSH -> break }
    :: atomic { CAN_FLUSH ->
            first = kept[0];
#ifdef FLUSHES_WITHOUT_A_LOCK
        };
        atomic {
#endif
            PUT(first);
            first = 0;
            if
            :: keeps > 0 -> keeps--
            :: else
            fi;
            kept[0] = kept[1];
            kept[1] = 0;
            if
#ifndef CLEARS_THE_FLAG_TOO_SOON
            :: keeps > 0
#endif
            :: else -> overflow = false
            fi;
            cq_tail = tail;
            wake_all()
        }
    od
}

/* `enter::wait`. */
inline wait(me, wanted, first) {
    flush_all(first);
    if
    :: atomic { tail - cq_head >= wanted }
    :: atomic { tail - cq_head < wanted };
        /* `Goal::of`, by a second look at the head. */
        atomic {
#ifdef WAITS_FOR_MORE_THAN_FITS
            target[me] = cq_head + wanted
#else
            target[me] = cq_head + (wanted < COMPLETIONS -> wanted : COMPLETIONS)
#endif
        };
        do
        :: flush_all(first);
            if
            :: atomic { tail >= target[me] -> break }
            :: atomic { tail < target[me] }
            fi;
#ifdef SLEEPS_ON_AN_OLD_LOOK
            if
            :: atomic { (tail >= target[me] || CAN_FLUSH) }
            :: atomic { !(tail >= target[me] || CAN_FLUSH) };
                waits[me] = true;
                asleep[me] = true;
end_sleep:      atomic { woken[me] -> woken[me] = false; asleep[me] = false }
            fi
#else
            waits[me] = true;
            if
            :: atomic { (tail >= target[me] || CAN_FLUSH) -> waits[me] = false; woken[me] = false }
            :: atomic { !(tail >= target[me] || CAN_FLUSH) -> asleep[me] = true };
end_sleep:      atomic { woken[me] -> woken[me] = false; asleep[me] = false }
            fi
#endif
        od;
        target[me] = 0
    fi
}

/* What is nowhere any more is 0 here, so that there are fewer states. */
#define COPY(id) id = entry[head % ENTRIES]; entry[head % ENTRIES] = 0; assert(id == head + 1); id = 0; head++

#define MAY_TAKE (sq_tail > head && reserved + keeps < PLACES)

/* Takes up to `most` entries, by who has the right; `count`: how many. */
inline take_some(most, count, id, done) {
    count = 0;
    done = 0;
    do
#ifdef GIVES_BACK_BEFORE_THE_COPY
    :: atomic { count < most && MAY_TAKE -> reserved++ };
        sq_head = head + 1;
        atomic {
#elif defined TAKES_WITHOUT_THE_RIGHT
    :: atomic { count < most && MAY_TAKE -> reserved++; id = head };
        atomic {
            assert(id == head);
#elif defined TAKES_WITHOUT_A_PLACE
    :: atomic { count < most && sq_tail > head ->
            reserved++;
#else
    :: atomic { count < most && MAY_TAKE ->
            reserved++;
#endif
            assert(reserved + keeps <= PLACES);
            COPY(id);
            count++
        };
        if
        :: done++      /* It is done as soon as it is tried. */
        :: true ->
            if
            :: polled -> sq_head = head
            :: else
            fi;
            begun++
        fi
    :: atomic { count == most || !MAY_TAKE -> break }
    od;
#ifdef POSTS_BEFORE_THE_HEAD
    do
    :: done > 0 -> post(); done--
    :: else -> break
    od;
#endif
    sq_head = head;
    do
    :: done > 0 -> post(); done--
    :: else -> break
    od
}

/* `begin_taking`, then `claim`: takes up to `most`. */
inline submit(me, most, count, id, done) {
    count = 0;
    if
    /* All that are there are done as soon as they are read, and there is room: under one lock, without places. One at a time here. */
    :: atomic { !is_taking && wanting == 0 && sq_tail > head && keeps == 0 && tail - cq_head < COMPLETIONS ->
            COPY(id);
            posted++;
            PUT(posted);
            count = 1;
            sq_head = head;
            cq_tail = tail;
            wake_all()
        }
    :: true ->
#ifndef TAKES_WITHOUT_THE_RIGHT
        if
        :: atomic { !is_taking && wanting == 0 -> is_taking = true }
        :: atomic { (is_taking || wanting > 0) -> wanting++ };
            do
            :: claims[me] = true;
                if
                :: atomic { !is_taking -> is_taking = true; claims[me] = false; turn[me] = false; break }
                :: atomic { is_taking };
                    atomic { turn[me] -> turn[me] = false }
                fi
            od;
            wanting--
        fi;
#endif
        take_some(most, count, id, done);
#ifndef TAKES_WITHOUT_THE_RIGHT
        is_taking = false;
#ifndef LEAVES_WITHOUT_A_WAKE
        d_step {
            turn[0] = turn[0] || claims[0];
            turn[1] = turn[1] || claims[1];
            claims[0] = false;
            claims[1] = false
        }
#endif
#endif
    fi
}

/* `io_uring_enter`, with all entries that were not taken yet: as many completions are waited for as `wanted` says, unless fewer entries were taken. */
inline enter(me, most, wanted, count, id, done) {
    if
    :: polled || most == 0 -> count = most
    :: else -> submit(me, most, count, id, done)
    fi;
    if
    :: count == most -> wait(me, wanted, id)
    :: else
    fi;
    count = 0;
    id = 0
}

inline call() {
#ifdef CALLS_BEFORE_THE_MARK
    atomic { roused = roused || parks; parks = false };
    called = true
#else
    called = true;
    atomic { roused = roused || parks; parks = false }
#endif
}

#define ADD atomic { added++; entry[(added - 1) % ENTRIES] = added }

active proctype program() {
    byte most, wanted, count, id, done;
    bool is_parked;
    atomic {
        if
#if !defined TAKES_WITHOUT_THE_RIGHT && !defined LEAVES_WITHOUT_A_WAKE
        :: polled = true
#endif
        :: polled = false
        fi;
        is_made = true
    };
    do
    :: added < REQUESTS && added - sq_head < ENTRIES ->
        ADD;
        /* One, or all that there is room for. */
        if
        :: added < REQUESTS && added - sq_head < ENTRIES -> ADD
        :: true
        fi;
#ifdef SEES_AN_OLD_FLAG
        is_parked = need_wakeup;
        sq_tail = added;
#else
        sq_tail = added;
        is_parked = need_wakeup;
#endif
        if
        :: polled && is_parked -> call()
        :: else
        fi;
        is_parked = false
    :: atomic { cq_tail > reaped ->
            id = completion[reaped % COMPLETIONS];
            completion[reaped % COMPLETIONS] = 0;
            reaped++;
            assert(id == reaped);
            assert(!polled || sq_head >= reaped);
            id = 0;
            cq_head = reaped
        }
    /* It looks on, without a call, when all are taken. */
    :: added == REQUESTS && reaped < added && sq_head == added -> cq_tail > reaped || overflow
    :: reaped < added ->
        atomic { most = added - sq_head };
        if
        :: overflow -> wanted = 0
        :: atomic { wanted = 1; do :: wanted < added - reaped -> wanted++ :: break od }
        fi;
        enter(PROGRAM, most, wanted, count, id, done);
        most = 0;
        wanted = 0
    :: added == REQUESTS && reaped == REQUESTS -> break
    od
}

/* Enters once, at any time. */
active proctype other() {
    byte most, wanted, count, id, done;
    atomic {
        is_made ->
        if
        :: polled -> wanted = 2
        :: !polled -> wanted = 1; most = 1
        fi
    };
    enter(OTHER, most, wanted, count, id, done)
}

active proctype poller() {
    byte count, id, done;
end_poller:
    polled -> skip;
    do
    :: sq_tail > head ->
        take_some(ENTRIES, count, id, done);
        atomic { count = 0; id = 0 }
    :: sq_tail == head ->
#ifdef LOOKS_BEFORE_THE_FLAG
        if
        :: sq_tail > head
        :: sq_tail == head -> need_wakeup = true;
#else
        need_wakeup = true;
        if
#ifndef PARKS_WITHOUT_A_LOOK
        :: sq_tail > head -> need_wakeup = false
        :: sq_tail == head ->
#else
        :: true ->
#endif
#endif
            do
#ifdef PARKS_FOR_GOOD
            :: called -> called = false; break
            :: !called -> parks = true;
end_parked:     atomic { roused -> roused = false }
#else
            :: parks = true;
                if
                :: atomic { called -> called = false; parks = false; roused = false; break }
                :: !called;
end_parked:         atomic { roused -> roused = false }
                fi
#endif
            od;
            need_wakeup = false
        fi
    od
}

/* What waits is completed. */
active proctype completer() {
end_completer:
    do
    :: atomic { begun > 0 -> begun-- };
        post()
    od
}

/* When nobody can go on. */
active proctype quiet() {
    timeout;
    assert(reaped == REQUESTS && keeps == 0 && reserved == 0);
    assert(!is_taking && wanting == 0);
    assert(!asleep[OTHER] || tail < target[OTHER]);
    assert(!polled || need_wakeup)
}
