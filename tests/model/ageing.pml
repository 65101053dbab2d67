/* Ageing: one queue of three priorities, an adversary that fills it, and the clock. The queue alone; who pushes and takes, and
 * when it is seen, is idle.pml's matter.
 *
 * Shown: bypass is bounded. A task that is the first of its group is served within AGE ticks for each of the priorities
 * ahead of it, whatever comes there and whenever. Assumed: what runs gives way after SLICE ticks at the latest; and no
 * more groups age at a time than are served in AGE ticks. (With AGE = 2, which three busy groups exceed, it is a tick more.)
 *
 * As in base/sched/src/lists/ageing.rs: a priority has tasks in turn and, before these, aged ones in order of their ageing. A
 * group that has been ready for AGE ticks without being served has its first task moved among the aged of the most
 * urgent priority that is ready or runs. A ranked policy's tasks lie between the two and change nothing here: they are
 * behind what is aged, and are a group that ages as the others.
 *
 * The victim is the only task of the last priority; the adversary has up to two at each of the others, which are ready again
 * at any moment after they ran.
 *
 * mutant NEVER_AGES                 no group ages
 * mutant AGES_WHERE_IT_IS           the first task goes to the front of its own priority
 * mutant AGES_TO_THE_END            it goes behind those in turn of the other priority
 * mutant AGED_DO_NOT_AGE            what is among the aged of a priority stays there
 * mutant AGEING_STARTS_ALL_ANEW     when one group's task is aged, the others' waits begin anew
 * mutant AGED_GO_TO_THE_FRONT       who ages later goes before those that aged earlier
 */
#define PRIORITIES 3
#define LAST 2
#define AGE 4
#define SLICE 1
#define MOST 2
#define OTHERS (MOST * LAST)
#define BOUND (AGE * LAST)

/* A task is known by its own priority. */
byte turn[PRIORITIES]                            /* tasks in turn */
byte alive[PRIORITIES]                           /* tasks that are ready */
chan aged0 = [OTHERS + 1] of { byte }
chan aged1 = [OTHERS + 1] of { byte }
chan aged2 = [OTHERS + 1] of { byte }
byte waited_turn[PRIORITIES]
byte waited_aged[PRIORITIES]
byte running = PRIORITIES                        /* the priority of what runs */
byte runs_for                                    /* ticks that it has run */
byte victim_waits
byte ready_first

inline find_ready() {
    if
    :: len(aged0) > 0 || turn[0] > 0 -> ready_first = 0
    :: else ->
        if
        :: len(aged1) > 0 || turn[1] > 0 -> ready_first = 1
        :: else ->
            if
            :: len(aged2) > 0 || turn[2] > 0 -> ready_first = 2
            :: else -> ready_first = PRIORITIES
            fi
        fi
    fi
}

inline put_ahead(what, where) {
#ifdef AGED_GO_TO_THE_FRONT
    if
    :: where == 0 && len(aged0) > 0 -> aged0?front; aged0!what; aged0!front
    :: where == 0 && len(aged0) == 0 -> aged0!what
    :: where == 1 -> aged1!what
    :: where == 2 -> aged2!what
    fi
#else
    if
    :: where == 0 -> aged0!what
    :: where == 1 -> aged1!what
    :: where == 2 -> aged2!what
    fi
#endif
}

inline starts_anew() {
#ifdef AGEING_STARTS_ALL_ANEW
    waited_turn[0] = 0; waited_turn[1] = 0; waited_turn[2] = 0;
    waited_aged[0] = 0; waited_aged[1] = 0; waited_aged[2] = 0;
#endif
    skip
}

/* The first task in turn of `at` waits one tick more. */
inline age_turn(at, to) {
    if
    :: turn[at] > 0 ->
        waited_turn[at]++;
        if
        :: waited_turn[at] >= AGE ->
            waited_turn[at] = 0;
#ifdef AGES_TO_THE_END
            if
            :: at == LAST && to < LAST && turn[to] > 0
            :: else ->
#endif
            turn[at]--;
            put_ahead(at, to);
#ifdef AGES_TO_THE_END
            fi;
#endif
            starts_anew()
        :: else
        fi
    :: else -> waited_turn[at] = 0
    fi
}

/* The first of the aged of `at` waits one tick more. Among the aged of `ahead` itself it stays where it is: order of arrival. */
inline age_aged(from, at, goal) {
    if
    :: len(from) > 0 ->
        waited_aged[at]++;
        if
        :: waited_aged[at] >= AGE ->
            waited_aged[at] = 0;
            if
            :: at > goal -> from?moved; put_ahead(moved, goal)
            :: else
            fi;
            starts_anew()
        :: else
        fi
    :: else -> waited_aged[at] = 0
    fi
}

inline tick() {
    find_ready();
    ahead = ready_first;
#ifndef AGES_BELOW_WHAT_RUNS
    if
    :: running < ahead -> ahead = running
    :: else
    fi;
#endif
#ifndef NEVER_AGES
    if
    :: ahead < PRIORITIES ->
#ifndef AGED_DO_NOT_AGE
        age_aged(aged0, 0, ahead);
#ifdef AGES_WHERE_IT_IS
        age_turn(0, 0);
        age_aged(aged1, 1, 1);
        age_turn(1, 1);
        age_aged(aged2, 2, 2);
        age_turn(2, 2)
#else
        age_turn(0, ahead);
        age_aged(aged1, 1, ahead);
        age_turn(1, ahead);
        age_aged(aged2, 2, ahead);
        age_turn(2, ahead)
#endif
#else
        age_turn(0, ahead);
        age_turn(1, ahead);
        age_turn(2, ahead)
#endif
    :: else
    fi;
#endif
    ahead = 0;
    moved = 0
}

/* Takes the first task of the most urgent priority. */
inline serve() {
    find_ready();
    running = ready_first;
    runs_for = 0;
    moved = PRIORITIES;
    if
    :: running == 0 && len(aged0) > 0 -> aged0?moved; waited_aged[0] = 0
    :: running == 1 && len(aged1) > 0 -> aged1?moved; waited_aged[1] = 0
    :: running == 2 && len(aged2) > 0 -> aged2?moved; waited_aged[2] = 0
    :: running == 0 && len(aged0) == 0 -> turn[0]--; waited_turn[0] = 0; moved = 0
    :: running == 1 && len(aged1) == 0 -> turn[1]--; waited_turn[1] = 0; moved = 1
    :: running == 2 && len(aged2) == 0 -> turn[2]--; waited_turn[2] = 0; moved = 2
    :: running == PRIORITIES
    fi;
    if
    :: moved < PRIORITIES -> alive[moved]--
    :: else
    fi;
    moved = 0
}

init {
    byte moved, ahead, front;
    bool came;
    do
    :: d_step { !came -> came = true; alive[LAST] = 1; turn[LAST] = 1 }
    :: atomic { alive[0] < MOST -> alive[0]++; turn[0]++ }
    :: atomic { alive[1] < MOST -> alive[1]++; turn[1]++ }
    :: d_step { serve() }
        if
        :: came && alive[LAST] == 0 -> break
        :: else
        fi
    :: runs_for < SLICE ->
        d_step {
            tick();
            runs_for++;
            victim_waits = victim_waits + came;
            assert(victim_waits <= BOUND)
        }
    od
}
