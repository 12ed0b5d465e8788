"""A column on the shop's customers, and a table beside the reviews."""

from sqlalchemy import ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shop.models import Base, Customer
from shop_reviews.db_models import Review

Customer.loyalty_points = mapped_column(Integer, nullable=True, info={"owner": "loyalty"})


class ReviewReward(Base):
    """The points a customer got for a review."""

    __tablename__ = "review_reward"

    review_id: Mapped[int] = mapped_column(ForeignKey(Review.id), primary_key=True)
    points: Mapped[int]

    review: Mapped[Review] = relationship()
