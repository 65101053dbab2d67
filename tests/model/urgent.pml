/* One worker that runs something, and what is more urgent: publishing, calling, preempting, giving back.
 *
 * Shown: when all is quiet, the worker does not run a task while a more urgent one waits in its queue, nor is it parked
 * beside a task. It may run a less urgent task for ever, so only a call gets its attention.
 *
 * The steps are those of queue.rs and queue/take.rs (`push`, `take_single`, `take_sorted`, `settle`), placement.rs (`call_for`, `take_task`,
 * `steal`, `left_behind`), and of whoever drives the pool. There are two kinds: one that picks with preemption off, so that a
 * call which comes then is gone, and looks once more before it runs what it picked (kernel/exec/src/harts.rs); and one
 * that keeps calls and runs what it gets. A second worker comes and steals at any moment.
 *
 * mutant RUNS_WITHOUT_A_LOOK          a worker publishes what it takes, and does not look at the inbox again
 * mutant LOOKS_BEFORE_IT_PUBLISHES    it looks first
 * mutant KEEPS_THE_PICK               it picks with preemption off, and does not look again
 * mutant PUSHES_WITHOUT_A_CALL        who pushes does not look at what runs
 * mutant CALLS_BEFORE_THE_PUSH        it looks before it pushes
 * mutant LEAVES_THE_REST_UNCALLED     a thief that had the queue in hand calls nobody for what is left
 */
#define TASKS 3
#define URGENT 0
#define LOW 1
#define NOTHING 2
/* The last task is the urgent one. */
#define PRIORITY(t) (t == 2 -> URGENT : LOW)

#define NOWHERE 0
#define INBOX 1
#define LISTS 2
#define HAND 3
#define DONE 4
#define NONE TASKS

byte place[TASKS]
bool ready[2]           /* ready bits, by priority */
bool locked
bool idle
bool parked
byte running = NOTHING  /* what the worker publishes */
bool called             /* an interrupt that has not struck yet */
bool picks_with_preemption_off

#define HAS_POST (place[0] == INBOX || place[1] == INBOX || place[2] == INBOX)
#define LISTED(p) ((p == URGENT && place[2] == LISTS) || (p == LOW && (place[0] == LISTS || place[1] == LISTS)))
#define COUNT_LISTED ((place[0] == LISTS) + (place[1] == LISTS) + (place[2] == LISTS))

inline call_for(cp) {
    if
    :: atomic { idle -> idle = false }
    :: atomic { !idle && running > cp && running != NOTHING -> called = true }
    :: atomic { !idle && (running <= cp || running == NOTHING) }
    fi
}

inline push(pt, from) {
#ifdef CALLS_BEFORE_THE_PUSH
    call_for(PRIORITY(pt));
    skip;
#endif
    d_step { assert(place[pt] == from); place[pt] = INBOX };
    ready[PRIORITY(pt)] = true;
#ifdef CALLS_BEFORE_THE_PUSH
    skip
#elif defined(PUSHES_WITHOUT_A_CALL)
    skip
#else
    call_for(PRIORITY(pt))
#endif
}

inline drain() {
    d_step {
        if :: place[0] == INBOX -> place[0] = LISTS :: else fi;
        if :: place[1] == INBOX -> place[1] = LISTS :: else fi;
        if :: place[2] == INBOX -> place[2] = LISTS :: else fi
    }
}

/* As in idle.pml; lets the lock go. */
inline settle(stale) {
    do
    :: d_step {
            stale = (ready[URGENT] && !LISTED(URGENT)) || (ready[LOW] && !LISTED(LOW));
            ready[URGENT] = LISTED(URGENT);
            ready[LOW] = LISTED(LOW)
        };
        if
        :: atomic { stale && HAS_POST -> drain() }
        :: atomic { !stale || !HAS_POST -> stale = false; locked = false; break }
        fi
    od
}

/* The first task of the most urgent priority below `below`. */
inline take_listed(lt, below) {
    d_step {
        if
        :: place[2] == LISTS && below > URGENT -> lt = 2
        :: else ->
            if
            :: place[0] == LISTS && below > LOW -> lt = 0
            :: else ->
                if
                :: place[1] == LISTS && below > LOW -> lt = 1
                :: else -> lt = NONE
                fi
            fi
        fi;
        if
        :: lt != NONE -> place[lt] = HAND
        :: else
        fi
    }
}

#define BEST(limit) ((limit > URGENT && LISTED(URGENT)) -> URGENT : ((limit > LOW && LISTED(LOW)) -> LOW : NOTHING))

/* placement.rs take_task; `outer` is what is published when nothing is taken. */
inline take(tt, limit, outer, best, ts) {
    tt = NONE;
    if
    :: locked
    :: atomic {
            !locked -> locked = true;
            ts = COUNT_LISTED == 0;
            drain()
        };
        best = BEST(limit);
        if
        :: ts && COUNT_LISTED == 1 && best != NOTHING ->
#ifdef LOOKS_BEFORE_IT_PUBLISHES
            ts = HAS_POST;
            running = best;
            d_step { ready[URGENT] = false; ready[LOW] = false };
#else
            running = best;
            d_step { ts = false; ready[URGENT] = false; ready[LOW] = false };
#endif
            if
#ifdef RUNS_WITHOUT_A_LOOK
            :: atomic { take_listed(tt, limit); locked = false }
#elif defined(LOOKS_BEFORE_IT_PUBLISHES)
            :: atomic { !ts -> take_listed(tt, limit); locked = false }
            :: ts
#else
            :: atomic { !HAS_POST -> take_listed(tt, limit); locked = false }
            :: HAS_POST
#endif
            fi
        :: else
        fi;
        ts = false;
        if
        :: tt == NONE ->
            do
            :: drain();
                best = BEST(limit);
#ifdef LOOKS_BEFORE_IT_PUBLISHES
                ts = HAS_POST;
                running = (best == NOTHING -> outer : best);
                if
                :: !ts -> break
                :: else
                fi
#elif defined(RUNS_WITHOUT_A_LOOK)
                running = (best == NOTHING -> outer : best);
                break
#else
                running = (best == NOTHING -> outer : best);
                if
                :: !HAS_POST -> break
                :: else
                fi
#endif
            od;
            if
            :: best == NOTHING -> skip
            :: else -> take_listed(tt, limit)
            fi;
            settle(ts)
        :: else
        fi
    fi;
    best = 0;
    if
    :: ready[URGENT] -> call_for(URGENT)
    :: !ready[URGENT] && ready[LOW] -> call_for(LOW)
    :: else
    fi
}

active proctype worker() {
    byte task = NONE, urgent = NONE, best;
    bool stale, stays;
    do
    :: take(task, NOTHING, NOTHING, best, stale);
        if
        :: picks_with_preemption_off -> called = false
        :: else
        fi;
        if
        :: task == NONE ->
            /* placement.rs park */
            running = NOTHING;
            idle = true;
            if
            :: HAS_POST -> goto found
            :: else
            fi;
            if
            :: ready[URGENT] || ready[LOW] -> goto found
            :: else
            fi;
            parked = true;
end_parked:
            atomic { !idle -> parked = false };
found:
            idle = false
#ifndef KEEPS_THE_PICK
        :: task != NONE && picks_with_preemption_off && PRIORITY(task) == LOW && ready[URGENT] ->
            /* The pick goes back; this worker looks next. */
            running = NOTHING;
            d_step { assert(place[task] == HAND); place[task] = INBOX };
            ready[LOW] = true
        :: task != NONE && !(picks_with_preemption_off && PRIORITY(task) == LOW && ready[URGENT]) ->
#else
        :: task != NONE ->
#endif
            if
            :: PRIORITY(task) == LOW -> stays = true
            :: stays = false
            fi;
end_runs:
            do
            :: !stays -> break
            :: atomic { stays && called -> called = false };
                /* harts.rs preempt */
                do
                :: atomic { true -> urgent = NONE };
                    take(urgent, LOW, LOW, best, stale);
                    if
                    :: atomic {
                            urgent != NONE -> assert(place[urgent] == HAND);
                            place[urgent] = DONE;
                            urgent = NONE;
                            running = LOW
                        }
                    :: urgent == NONE && !ready[URGENT] -> break
                    :: urgent == NONE && ready[URGENT]
                    fi
                od
            od;
            atomic { assert(place[task] == HAND); place[task] = DONE; running = NOTHING }
        fi;
        task = NONE
    od
}

/* Another worker, placement.rs steal: once, or not at all. */
active proctype thief() {
    byte task = NONE;
    bool stale;
    if
    :: atomic { !locked && (ready[URGENT] || ready[LOW]) -> locked = true; drain(); take_listed(task, NOTHING) };
        settle(stale);
#ifndef LEAVES_THE_REST_UNCALLED
        if
        :: ready[URGENT] -> call_for(URGENT)
        :: !ready[URGENT] && ready[LOW] -> call_for(LOW)
        :: else
        fi;
#endif
        if
        :: task != NONE -> d_step { assert(place[task] == HAND); place[task] = DONE }
        :: else
        fi
    :: true
    fi
}

active proctype waker() {
    push(2, NOWHERE)
}

init {
    if
    :: picks_with_preemption_off = true
    :: true
    fi;
    push(0, NOWHERE);
    if
    :: push(1, NOWHERE)
    :: place[1] = DONE
    fi;
    timeout ->
    assert(running != LOW || place[2] == DONE);
    assert(!parked || (place[0] == DONE && place[1] == DONE && place[2] == DONE))
}
