/* Two workers with a queue each: pushing, taking, stealing, parking.
 *
 * Shown: a task is in one place at a time and run once, whoever takes it. When all is quiet, no worker is parked beside a
 * task that it could run; in particular nothing is left when nobody is kept busy. That all becomes quiet is not shown.
 *
 * The steps are those of queue.rs and queue/take.rs (`push`, `take_single`, `take_sorted`, `settle`, `steal`) and placement.rs (`call_for`,
 * `call_idle`, `left_behind`, `steal`, `park`), one shared access each; what is done under a queue's lock to its lists is one
 * step, since nobody else may look. All tasks are of one priority; who is put where is left open, which covers every
 * rule of placement. A worker may be kept busy for ever by a task. Memory is sequentially consistent: that the fences
 * make it so where it matters is loom's to show.
 *
 * mutant PARKS_WITHOUT_A_SECOND_LOOK   a worker announces that it parks, and does
 * mutant LOOKS_FIRST                   a worker looks before it announces that it parks
 * mutant PUSHES_WITHOUT_A_CALL         who pushes does not look for idle workers
 * mutant CALLS_BEFORE_THE_PUSH         it looks before it pushes
 * mutant CLEARS_WITHOUT_A_LOOK         who clears ready bits does not look at the inbox afterwards
 * mutant SETS_THE_BIT_BEFORE_THE_PUSH  a ready bit comes before its task
 * mutant LEAVES_THE_REST_UNCALLED      who lets go of a queue calls nobody for what is left
 * mutant STEALS_WITHOUT_THE_LOCK       a thief does not take the lock
 * mutant CALLS_THE_HOME_ONLY           a push calls the worker that got the task and no other
 */
#define WORKERS 2
#define TASKS 3
/* Two tasks go anywhere, the last belongs to worker 0. */
#define IS_PINNED(t) (t == TASKS - 1)

/* Where a task is: with nobody, in the inbox or the lists of a worker, in a worker's hand, done. */
#define NOWHERE 0
#define INBOX(w) (1 + w)
#define LISTS(w) (3 + w)
#define HAND(w) (5 + w)
#define DONE 7
#define NONE TASKS

byte place[TASKS]
bool ready_free[WORKERS]
bool ready_pinned[WORKERS]
bool locked[WORKERS]
bool idle[WORKERS]
bool parked[WORKERS]
byte running = 0    /* workers that run something */

#define IS_FREE(t, p) (place[t] == p && !IS_PINNED(t))
#define HAS_POST(w) (place[0] == INBOX(w) || place[1] == INBOX(w) || place[2] == INBOX(w))
#define LIST_FREE(w) (IS_FREE(0, LISTS(w)) || IS_FREE(1, LISTS(w)))
#define LIST_PINNED(w) (place[2] == LISTS(w))
#define ONE_LISTED(w) ((place[0] == LISTS(w)) + (place[1] == LISTS(w)) + (place[2] == LISTS(w)) == 1)
#define COULD_RUN(w) (IS_FREE(0, INBOX(0)) || IS_FREE(0, INBOX(1)) || IS_FREE(0, LISTS(0)) || IS_FREE(0, LISTS(1)) || \
                      IS_FREE(1, INBOX(0)) || IS_FREE(1, INBOX(1)) || IS_FREE(1, LISTS(0)) || IS_FREE(1, LISTS(1)) || \
                      (w == 0 && (place[2] == INBOX(0) || place[2] == LISTS(0))))

inline set_bit(bt, bw) {
    if
    :: IS_PINNED(bt) -> ready_pinned[bw] = true
    :: else -> ready_free[bw] = true
    fi
}

/* placement.rs call_for: the idle bits are one word, so both are read at once. */
inline call_for(cw, co) {
    do
    :: atomic { idle[cw] -> idle[cw] = false; break }
#ifndef CALLS_THE_HOME_ONLY
    :: atomic { !idle[cw] && idle[co] -> idle[co] = false; break }
    :: atomic { !idle[cw] && !idle[co] -> break }
#else
    :: atomic { !idle[cw] -> break }
#endif
    od
}

/* The same for a task that nobody else may run. That its worker may have been called for another task and takes this one, which it passes
 * on (pass_on), needs a third worker to show. */
inline call_home(hw) {
    if
    :: atomic { idle[hw] -> idle[hw] = false }
    :: !idle[hw]
    fi
}

/* Hands a task to a worker's queue and calls. */
inline push(pt, pf, pw, po) {
#ifdef CALLS_BEFORE_THE_PUSH
    call_for(pw, po);
    skip;
#endif
#ifdef SETS_THE_BIT_BEFORE_THE_PUSH
    set_bit(pt, pw);
#endif
    d_step { assert(place[pt] == pf); place[pt] = INBOX(pw) };
#ifndef SETS_THE_BIT_BEFORE_THE_PUSH
    set_bit(pt, pw);
#endif
#ifdef CALLS_BEFORE_THE_PUSH
#elif !defined(PUSHES_WITHOUT_A_CALL)
    if
    :: IS_PINNED(pt) -> call_home(pw)
    :: else -> call_for(pw, po)
    fi
#endif
}

inline drain(dw) {
    d_step {
        if :: place[0] == INBOX(dw) -> place[0] = LISTS(dw) :: else fi;
        if :: place[1] == INBOX(dw) -> place[1] = LISTS(dw) :: else fi;
        if :: place[2] == INBOX(dw) -> place[2] = LISTS(dw) :: else fi
    }
}

/* queue.rs settle. A load of the bits, and what is set and cleared by it, are one step: only the lock's holder clears, and
 * a bit that is set in between is not among those that it clears. */
inline settle(sw, stale) {
    do
    :: d_step {
            stale = (ready_free[sw] && !LIST_FREE(sw)) || (ready_pinned[sw] && !LIST_PINNED(sw));
            ready_free[sw] = LIST_FREE(sw);
            ready_pinned[sw] = LIST_PINNED(sw)
        };
#ifdef CLEARS_WITHOUT_A_LOOK
        stale = false;
#endif
        if
        :: atomic { stale && HAS_POST(sw) -> drain(sw) }
        :: atomic { !stale || !HAS_POST(sw) -> stale = false; locked[sw] = false; break }
        fi
    od
}

/* Takes one from the lists of `w`, whichever. */
inline take_listed(lt, lw, lb, lp) {
    d_step {
        if
        :: IS_FREE(0, LISTS(lw)) -> lt = 0
        :: else ->
            if
            :: IS_FREE(1, LISTS(lw)) -> lt = 1
            :: else ->
                if
                :: lp && LIST_PINNED(lw) -> lt = 2
                :: else -> lt = NONE
                fi
            fi
        fi;
        if
        :: lt != NONE -> place[lt] = HAND(lb)
        :: else
        fi
    }
}

inline take_the_pinned_first(ft, fw) {
    d_step { LIST_PINNED(fw) -> ft = 2; place[2] = HAND(fw) }
}

/* queue/take.rs pop, of the worker's own queue, and what take_task adds. Taking a lock goes with the step after it, letting it
 * go with the one before. */
inline take(tt, tw, to, ts) {
    if
    :: locked[tw]        /* patience is at its end */
    :: atomic {
            !locked[tw] -> locked[tw] = true;
            ts = !LIST_FREE(tw) && !LIST_PINNED(tw);
            drain(tw)
        };
        if
        :: ts && ONE_LISTED(tw) ->
            /* take_single: the bits are cleared before the look at the inbox. */
            d_step { ts = false; ready_free[tw] = false; ready_pinned[tw] = false };
            if
            :: atomic { !HAS_POST(tw) -> take_listed(tt, tw, tw, true); locked[tw] = false }
            :: HAS_POST(tw)
            fi
        :: else -> ts = false
        fi;
        if
        :: tt == NONE ->
            do
            :: atomic { HAS_POST(tw) -> drain(tw) }
            :: atomic { !HAS_POST(tw) -> break }
            od;
            if
            :: take_listed(tt, tw, tw, true)
            :: take_the_pinned_first(tt, tw)
            fi;
            settle(tw, ts)
        :: else
        fi
    fi;
#ifndef LEAVES_THE_REST_UNCALLED
    if
    :: ready_free[tw] -> call_for(tw, to)
    :: else
    fi
#endif
}

/* placement.rs steal */
inline steal(vt, vw, vo, vs) {
    if
    :: !ready_free[vo] || locked[vo]
#ifdef STEALS_WITHOUT_THE_LOCK
    :: ready_free[vo] ->
        drain(vo);
        /* The list is read, then written. */
        if
        :: IS_FREE(0, LISTS(vo)) -> vt = 0
        :: IS_FREE(1, LISTS(vo)) -> vt = 1
        :: else
        fi;
        if
        :: vt != NONE -> d_step { assert(place[vt] == LISTS(vo)); place[vt] = HAND(vw) }
        :: else
        fi;
#else
    :: atomic {
            ready_free[vo] && !locked[vo] -> locked[vo] = true;
            drain(vo);
            take_listed(vt, vo, vw, false)
        };
#endif
        settle(vo, vs);
#ifndef LEAVES_THE_REST_UNCALLED
        if
        :: ready_free[vo] || ready_pinned[vo] -> call_for(vo, vw)
        :: else
        fi;
#endif
        if
        :: vt != NONE && HAS_POST(vw) ->
            push(vt, HAND(vw), vw, vo);
            vt = NONE;
            take(vt, vw, vo, vs)
        :: else
        fi
    fi
}

/* placement.rs park: announce, then look at one queue after the other. */
inline park(kw, ko) {
#ifndef LOOKS_FIRST
    idle[kw] = true;
#endif
#ifndef PARKS_WITHOUT_A_SECOND_LOOK
    if
    :: HAS_POST(kw) -> goto found
    :: else
    fi;
    if
    :: ready_free[kw] || ready_pinned[kw] -> goto found
    :: else
    fi;
    if
    :: ready_free[ko] -> goto found
    :: else
    fi;
#endif
#ifdef LOOKS_FIRST
    idle[kw] = true;
#endif
    parked[kw] = true;
end_parked:
    atomic { !idle[kw] -> parked[kw] = false };
found:
    idle[kw] = false
}

proctype worker(byte me; byte other) {
    byte task = NONE;
    bool stale;
    do
    :: take(task, me, other, stale);
        if
        :: task == NONE -> steal(task, me, other, stale)
        :: else
        fi;
        if
        :: task != NONE ->
            atomic {
                assert(place[task] == HAND(me));
                assert(!IS_PINNED(task) || me == 0);
                place[task] = DONE;
                task = NONE
            };
            if
            :: true
            :: atomic { running == 0 -> running = 1 };
end_busy:
                false
            fi
        :: else -> park(me, other)
        fi
    od
}

/* Pushes a task that may go anywhere, and perhaps one that may not. */
proctype waker(byte first; byte second) {
    if
    :: true -> push(first, NOWHERE, 0, 1)
    :: second == NONE -> push(first, NOWHERE, 1, 0)
    fi;
    if
    :: second != NONE -> push(second, NOWHERE, 0, 1)
    :: else
    fi
}

init {
    atomic {
        run worker(0, 1);
        run worker(1, 0);
        run waker(0, 2);
        run waker(1, NONE)
    };
    timeout ->
    assert(place[0] != NOWHERE && place[1] != NOWHERE && place[2] != NOWHERE);
    assert(!parked[0] || !COULD_RUN(0));
    assert(!parked[1] || !COULD_RUN(1))
}
